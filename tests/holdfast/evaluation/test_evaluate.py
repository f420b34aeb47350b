import numpy as np
import pytest
import torch
import torch.nn.functional as F

from holdfast import data
from holdfast.attacks.adaptive import LOSSES, AdaptiveAttack
from holdfast.attacks.noise import NoiseAttack
from holdfast.attacks.onnx_embedding import OnnxEmbedding
from holdfast.attacks.quantise import to_pixels
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.errors import ContractMismatchError, HoldfastError
from holdfast.evaluation import evaluate, found_by
from holdfast.evaluation.cli import main
from holdfast.model.classifier import Classifier
from holdfast.trainer.encoders import ResNetConfig, build_encoder

THREAT = ThreatModel("linf", 32 / 255)
QUICK = AdaptiveAttack(losses=LOSSES[1:2], steps=8)


def test_the_graphs_are_the_torch_encoder_and_its_gradient(exported, encoder, digits):
    embed = OnnxEmbedding(Bundle.open(exported))
    pixels = to_pixels(digits.test.images[:8]).requires_grad_()
    direction = torch.randn(8, 24, generator=torch.Generator().manual_seed(0))
    mine, theirs = embed(pixels), F.normalize(encoder(pixels), dim=1)
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
    gradients = [torch.autograd.grad((z * direction).sum(), pixels)[0] for z in (mine, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-2, atol=1e-3)


def test_between_grey_levels_the_graphs_see_the_nearest_image(exported, digits):
    embed = OnnxEmbedding(Bundle.open(exported))
    pixels = to_pixels(digits.test.images[:2])
    shifted = (pixels + 0.4 / 255).clamp(0, 1)
    torch.testing.assert_close(embed(shifted), embed(pixels), rtol=0, atol=0)


@pytest.mark.parametrize("with_torch", [True, False])
def test_an_evaluation_counts_what_is_served(exported, encoder, digits, with_torch):
    evaluation = evaluate(exported, digits.test, encoder=encoder if with_torch else None, attack=QUICK, limit=40)
    outcome, labels = evaluation.outcome, evaluation.labels
    served = Classifier(Bundle.open(exported)).classify
    assert evaluation.threat == THREAT
    np.testing.assert_array_equal(served(evaluation.images).labels, outcome.clean_labels)
    np.testing.assert_array_equal(served(outcome.adversarial).labels, outcome.adversarial_labels)
    assert evaluation.clean.successes == (outcome.clean_labels == labels).sum() > 25
    still = (outcome.clean_labels == labels) & (outcome.adversarial_labels == labels)
    assert evaluation.robust.successes == still.sum() < evaluation.clean.successes / 2
    assert evaluation.dsr.trials == evaluation.clean.successes
    assert evaluation.dsr.value * evaluation.clean.value == pytest.approx(evaluation.robust.value)
    assert evaluation.agreement.value > 0.6
    assert sum(found_by(evaluation).values()) == outcome.success.sum()


def test_both_roads_find_nearly_the_same(exported, encoder, digits):
    by_torch, by_onnx = (
        evaluate(exported, digits.test, encoder=e, attack=QUICK, limit=60).robust.value for e in (encoder, None)
    )
    assert abs(by_torch - by_onnx) <= 0.1


def test_a_larger_ball_leaves_no_more_standing(exported, encoder, digits):
    robust = [
        evaluate(exported, digits.test, encoder=encoder, attack=QUICK, limit=60, threat=ThreatModel("linf", e / 255))
        for e in (0, 2, 8, 24, 64)
    ]
    values = [evaluation.robust.value for evaluation in robust]
    assert values == sorted(values, reverse=True)
    assert values[0] == robust[0].clean.value


def test_noise_is_an_attack_like_any_other(exported, digits):
    assert evaluate(exported, digits.test, attack=NoiseAttack(), limit=20).attack == "1 uniform noise"


def test_another_encoder_is_refused(exported, digits):
    torch.manual_seed(1)
    stranger = build_encoder(ResNetConfig(width=8, dim=24))
    with pytest.raises(ContractMismatchError, match="another encoder"):
        evaluate(exported, digits.test, encoder=stranger, attack=QUICK, limit=4)


def test_images_that_do_not_fit_are_refused(exported, digits):
    with pytest.raises(ContractMismatchError, match="takes"):
        evaluate(exported, data.load("digits", size=16).test)
    with pytest.raises(HoldfastError, match="no test images"):
        evaluate(exported, digits.test.take([]))


def test_the_command_measures_and_records(exported, capsys):
    assert main([str(exported), "--images", "20", "--steps", "2", "--epsilon", "0.05", "--record"]) == 0
    assert "robust accuracy" in capsys.readouterr().out
    accuracy = Bundle.open(exported).manifest.accuracy
    assert accuracy is not None
    assert (accuracy.images, accuracy.epsilon, accuracy.norm) == (20, 0.05, "linf")
    assert accuracy.robust < accuracy.clean
    assert accuracy.attack.startswith("PGD-2 x 1 on margin tau 0.02")


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "not a bundle" in capsys.readouterr().out.replace(" \n", " ").replace("\n", " ")
