"""Cross-entropy on adversarial examples."""

import torch

from holdfast.trainer.encoders import ResNetConfig, build_encoder
from holdfast.trainer.objectives import SupervisedAdversarialConfig, build_objective
from tests.trainer.objectives.batches import STILL, batch


def test_adversarial_training_has_the_larger_cross_entropy() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(ResNetConfig(8, 1, 16))
    losses = []
    for epsilon in (0.0, 0.1):
        torch.manual_seed(1)
        config = SupervisedAdversarialConfig(epsilon=epsilon, step_size=epsilon / 2, augment=STILL)
        objective = build_objective(config, encoder, 3)
        losses.append(objective.terms(encoder, batch(), torch.Generator().manual_seed(0))["cross_entropy"].item())
    assert losses[0] < losses[1]
