"""bench.detectors.adaptive and telling, small: what an attacker takes for a refusal, and what tells it from others."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from bench.detectors.adaptive import AT_ONCE, Account, attack
from bench.detectors.attackers import walk_along_the_edge
from bench.detectors.replay import answered
from bench.detectors.telling import as_jpegs, measures_of, noise_of, scores_of
from bench.synthetic import write_bundle
from holdfast.model.preprocess import Pixels
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.monitor.detectors.reference import Reference
from tests.server.monitor.detectors.watching import pictures


class Silent:
    """Answers nothing that matters."""

    def scores(self, images: Pixels) -> np.ndarray:
        return np.ones((len(images), 2), np.float32)


def account(own: list[float], other: list[float] | None) -> Account:
    caller: object = Silent()
    return Account(caller, None if other is None else caller, own, other or [])  # type: ignore[arg-type]


def test_an_account_that_gets_slower_than_the_other_twice_in_a_row_seems_refused() -> None:
    slow = account([0.1] * AT_ONCE, [0.01] * AT_ONCE)
    assert [slow.seems_refused(), slow.seems_refused()] == [False, True]
    assert not any(account([0.015] * AT_ONCE, [0.01] * AT_ONCE).seems_refused() for _ in range(3))
    assert not any(account([9.0] * AT_ONCE, None).seems_refused() for _ in range(3))
    assert not account([9.0] * (AT_ONCE - 1), [0.01] * (AT_ONCE - 1)).seems_refused()


def test_a_walk_keeps_to_the_edge_and_takes_steps_as_wide_as_it_is_told() -> None:
    asked: list[Pixels] = []
    widths = iter([4.0, 4.0, 12.0, 12.0])

    def ask(images: Pixels) -> np.ndarray:
        asked.append(images)
        return np.eye(2, dtype=np.float32)[(images.mean(axis=(1, 2, 3)) > 110).astype(int)]

    image, rng = np.full((32, 32, 3), 90, np.uint8), np.random.default_rng(0)
    reached = list(islice(walk_along_the_edge(ask, image, 0, rng, grain=1, size=lambda: next(widths)), 5))
    assert min(reached) >= 20  # as far as the edge is in brightness
    spread = [float(part.astype(float).std(axis=0).mean()) for part in asked if len(part) > 1]
    assert spread[0] < 6 < spread[-1]


def test_noise_and_other_classes_are_told_from_images_like_the_references(tmp_path: Path) -> None:
    snapshot = ModelSnapshot.of(write_bundle(tmp_path / "bundle"), 1, "bench")
    images = pictures(60, seed=1)
    answers = answered(snapshot, images)
    none = np.sort(answers.kth_distance)
    reference = Reference(
        answers.embeddings,
        np.sort(answers.soft_margin),
        none,
        tuple(none for _ in range(10)),
        none,
        none,
        np.bincount(answers.labels, minlength=10) / 60,
    )
    measures = measures_of(reference)
    scores = scores_of(images, answers, measures, asked=30, groups=3)
    assert {len(values) for values in scores.values()} == {3}
    one = answers.labels == answers.labels[0]
    of_one = scores_of(images[one], answered(snapshot, images[one]), measures, asked=30, groups=2)
    assert of_one["classes"].min() > scores["classes"].max()
    noisy = np.clip(images + np.random.default_rng(0).normal(0, 10, images.shape), 0, 255).astype(np.uint8)
    assert noise_of(noisy) > noise_of(images)
    assert as_jpegs(images[:3]).shape == (3, 32, 32, 3)


@pytest.mark.slow
@pytest.mark.parametrize("feedback", ["none", "alarms"])
def test_an_attacker_that_learns_nothing_goes_on_as_it_began(tmp_path: Path, feedback: str) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (image,) = pictures(1, seed=5)
    label = int(bundle.classifier().classify(image[None]).labels[0])
    others = pictures(20, seed=6)
    run = attack(tmp_path / "bundle", feedback, 1, (image, label), others, most=120, seed=0)  # type: ignore[arg-type]
    assert run.asked == 120
    assert (run.size > 1) == (run.accounts > 1) == (feedback == "alarms" and run.alarms > 0)
