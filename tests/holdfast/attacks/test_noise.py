import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.attacks.noise import NoiseAttack, noisy
from holdfast.attacks.surrogate import TorchSoftKNN
from holdfast.attacks.victim import Victim
from holdfast.bundle.threat_model import ThreatModel


@given(st.sampled_from(["linf", "l2"]), st.floats(0.001, 0.3), st.integers(0, 100))
def test_noise_fills_the_ball_and_stays_in_it(norm, epsilon, seed):
    pixels = torch.full((4, 3, 8, 8), 0.5)
    move = (noisy(pixels, ThreatModel(norm, epsilon), torch.Generator().manual_seed(seed)) - pixels).flatten(1)
    size = move.abs().amax(1) if norm == "linf" else move.norm(dim=1)
    assert (size <= epsilon * 1.001).all()
    assert (size > 0.8 * epsilon).all()


def test_a_classifier_on_the_edge_is_tipped_by_noise_and_one_far_from_it_is_not():
    def answer(images):
        return (images.reshape(len(images), -1).min(1) < 100).astype(np.int64)

    victim = Victim(lambda x: x.flatten(1), TorchSoftKNN(torch.eye(2), torch.tensor([0, 1]), 2, 0.1), answer)
    images = np.stack([np.full((8, 8, 3), level, dtype=np.uint8) for level in (102, 130)])
    outcome = NoiseAttack(draws=3)(victim, images, np.array([0, 0]), ThreatModel("linf", 8 / 255))
    assert outcome.success.tolist() == [True, False]
    assert outcome.found_by == ("noise", "")
