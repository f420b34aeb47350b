"""Targets that follow the model: the authors' formulas, written out image by image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from holdfast.trainer.objectives import ImageBatch, SelfAdaptation
from holdfast.trainer.objectives.adaptive.targets import AdaptiveTargets


def train_set(n: int = 6, classes: int = 3) -> ImageBatch:
    return ImageBatch.whole(torch.zeros(n, 2, 2, 3, dtype=torch.uint8), torch.arange(n) % classes)


def begun(config: SelfAdaptation, images: ImageBatch, classes: int = 3) -> AdaptiveTargets:
    adaptive = AdaptiveTargets(config, classes)
    adaptive.memory.allocate(len(images))
    adaptive.prepare(images, 1, 10)
    return adaptive


@given(seed=st.integers(0, 2**16), momentum=st.floats(0, 1), weights=st.booleans(), reverse=st.sampled_from([0.0, 0.3]))
def test_the_loss_is_the_authors(seed, momentum, weights, reverse) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = train_set(6)
    adaptive = begun(SelfAdaptation(momentum=momentum, weights=weights), images)
    expected = np.eye(3)[images.labels.numpy()]
    for _ in range(3):
        rows = torch.randperm(6, generator=generator)[:4]
        logits = 3 * torch.randn(4, 3, generator=generator)
        p = np.exp(logits.double().numpy())
        p /= p.sum(1, keepdims=True)
        expected[rows] = momentum * expected[rows] + (1 - momentum) * p
        targets = adaptive.adapt(images.at(rows), logits.softmax(1))
        loss = adaptive.cross_entropy(targets, logits.log_softmax(1), reverse).item()
        weight = expected[rows].max(1) if weights else np.ones(4)
        weight = weight * 4 / weight.sum()
        each = -(expected[rows] * np.log(p)).sum(1) - reverse * (p * np.log(np.maximum(expected[rows], 1e-4))).sum(1)
        assert loss == pytest.approx(float((weight * each).mean()), rel=1e-4, abs=1e-5)
    assert adaptive.memory.values.numpy() == pytest.approx(expected, abs=1e-5)
    assert adaptive.memory.values.sum(1).numpy() == pytest.approx(np.ones(6), abs=1e-5)


@pytest.mark.parametrize(("start", "first"), [(0.0, 1), (0.3, 4), (0.5, 6), (1.0, None)])
def test_targets_are_the_labels_until_the_share_of_steps_is_over(start, first) -> None:
    images = train_set()
    adaptive = begun(SelfAdaptation(start=start), images)
    assert torch.equal(adaptive.memory.values, F.one_hot(images.labels, 3).float())
    adapting = []
    for step in range(1, 11):
        adaptive.prepare(images, step, 10)
        adapting.append(adaptive.adapting)
    assert adapting == [first is not None and step >= first for step in range(1, 11)]


def test_a_later_stage_goes_on_with_the_targets_of_an_earlier_one() -> None:
    images = train_set()
    earlier = begun(SelfAdaptation(momentum=0.0), images)
    earlier.adapt(images, torch.full((6, 3), 1 / 3))
    later = AdaptiveTargets(SelfAdaptation(), 3)
    later.memory.allocate(6)
    later.load_state_dict(earlier.state_dict())
    later.prepare(images, 1, 10)
    assert torch.allclose(later.memory.values, torch.full((6, 3), 1 / 3))


def test_changed_is_the_share_of_the_batch_that_left_its_label() -> None:
    images = train_set(4)
    adaptive = begun(SelfAdaptation(momentum=0.4), images)
    believed = F.one_hot(torch.tensor([0, 2, 2, 1]), 3).float()
    adaptive.adapt(images, believed)
    assert adaptive.changed == 0.5


@pytest.mark.parametrize("wrong", [{"start": -0.1}, {"start": 1.5}, {"momentum": 1.1}, {"start": float("nan")}])
def test_what_is_no_share_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        SelfAdaptation(**wrong)


def test_an_image_without_a_label_takes_what_the_model_gives() -> None:
    images = train_set(4)
    images = ImageBatch(images.images, torch.tensor([0, -1, 2, -1]), images.rows)
    adaptive = begun(SelfAdaptation(momentum=0.9), images)
    given = torch.tensor([[0.2, 0.3, 0.5]]).expand(4, 3)
    moved = adaptive.moved(images.rows, given)
    assert torch.allclose(moved[[1, 3]], given[:2])
    assert moved[[0, 2]].argmax(1).tolist() == [0, 2]
