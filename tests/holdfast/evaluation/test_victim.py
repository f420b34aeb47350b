import numpy as np
import pytest
import torch
import torch.nn.functional as F

from holdfast import data
from holdfast.attacks.noise import NoiseAttack
from holdfast.attacks.onnx_embedding import OnnxEmbedding
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.victim import SERVED_BATCH, served
from holdfast.bundle.reader import Bundle
from holdfast.errors import ContractMismatchError, HoldfastError
from holdfast.evaluation import evaluate
from holdfast.evaluation.victim import answers_of
from holdfast.trainer.encoders import ResNetConfig, build_encoder


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


def test_all_images_are_answered_whatever_the_batch(exported, digits):
    classifier = Bundle.open(exported).classifier()
    images = digits.test.images[: SERVED_BATCH + 3]
    expected = [int(classifier.classify(images[i : i + 1]).labels[0]) for i in range(len(images))]
    assert served(classifier)(images).tolist() == expected
    assert served(classifier)(images[:0]).tolist() == []
    answers = answers_of(classifier.classify, images)
    assert answers.labels.tolist() == expected
    np.testing.assert_array_equal(answers.neighbours.ids[:3], classifier.classify(images[:3]).neighbours.ids)


def test_another_encoder_is_refused(exported, digits):
    torch.manual_seed(1)
    stranger = build_encoder(ResNetConfig(width=8, dim=24))
    with pytest.raises(ContractMismatchError, match="another encoder"):
        evaluate(exported, digits.test, encoder=stranger, attack=NoiseAttack(), limit=4)


def test_images_that_do_not_fit_are_refused(exported, digits):
    with pytest.raises(ContractMismatchError, match="takes"):
        evaluate(exported, data.load("digits", size=16).test)
    with pytest.raises(HoldfastError, match="no test images"):
        evaluate(exported, digits.test.take([]))
