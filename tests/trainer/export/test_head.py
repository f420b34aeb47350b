"""The classifier of a training as the bundle has it, held against what the training itself says of the same images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from holdfast.attacks.quantise import to_pixels
from holdfast.bundle.reader import Bundle
from holdfast.data import Splits
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.export.bundle import write_bundle
from holdfast.trainer.export.head import served_head
from holdfast.trainer.objectives import ObjectiveConfig, SelfAdaptiveConfig, SupervisedConfig, TradesConfig
from holdfast.trainer.train import Trained, train
from tests.trainer.tiny_runs import splits


def trained(objective: ObjectiveConfig, out, **options) -> tuple[TrainConfig, Trained, Splits]:
    stage = Stage("one", objective, steps=3, batch_size=16, learning_rate=0.05)
    config = TrainConfig(ResNetConfig(4, 1, 8), (stage,), out=out, k=5, device="cpu", checkpoint_every=3, **options)
    found = splits()
    return config, train(config, found), found


@pytest.mark.parametrize("whitening", [pytest.param(0.0, marks=pytest.mark.slow), 0.25])
def test_a_cosine_classifier_says_of_served_embeddings_what_it_learned_to_say(tmp_path, whitening):
    config, run, found = trained(TradesConfig(epsilon=0.1, step_size=0.1, steps=1), tmp_path, whitening=whitening)
    write_bundle(config, found, run, "a test")
    bundle, images = Bundle.open_encoder(tmp_path), found.train.images
    with torch.no_grad():
        expected = F.linear(F.normalize(run.encoder(to_pixels(images)), dim=1), run.head.weights).log_softmax(1)
    served = torch.from_numpy(bundle.head.logits(bundle.encoder.embed(images))).log_softmax(1)
    np.testing.assert_allclose(served.numpy(), expected.numpy(), atol=2e-3)
    assert bundle.head.agreement == 1


@pytest.mark.parametrize("objective", [SupervisedConfig(), SelfAdaptiveConfig(start=0.5, abstain=True)])
def test_a_linear_classifier_is_brought_to_the_length_that_embeddings_have(tmp_path, objective):
    _, run, found = trained(objective, tmp_path)
    with torch.no_grad():
        raw = run.encoder(to_pixels(found.train.images))
    head = served_head(run.head, run.encoder, found.train)
    length = raw.norm(dim=1, keepdim=True)
    logits = head.logits((raw / length).numpy())
    expected = F.linear(raw / length * length.mean(), run.head.weights, run.head.bias)
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-4)
    alike = logits[:, :2].argmax(1) == F.linear(raw, run.head.weights, run.head.bias)[:, :2].argmax(1).numpy()
    assert head.agreement == pytest.approx(alike.mean())
    assert head.abstains == isinstance(objective, SelfAdaptiveConfig)


def test_it_is_the_one_that_the_checkpoint_holds(tmp_path):
    config, run, found = trained(SupervisedConfig(), tmp_path, checkpoint_precision="float16")
    again = train(replace(config, resume=True), found)
    assert torch.equal(again.head.weights, run.head.weights)
