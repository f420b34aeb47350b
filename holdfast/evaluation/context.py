"""Who is attacked with what: the opened bundle, the test images drawn, and those that are left to an attacker."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from holdfast.attacks.knowledge import attackers_images, bank_unknown
from holdfast.attacks.victim import Victim
from holdfast.bundle.reader import ENCODER, EXEMPLARS, GRADIENT, Bundle
from holdfast.data import LabelledImages, Splits
from holdfast.evaluation.quick import JUDGED_AT_ONCE, check_fit, drawn, open_served, victim_of
from holdfast.model.answers import Answers, Neighbours
from holdfast.model.classifier import Classifier
from holdfast.model.device_choice import DeviceChoice, Precision
from holdfast.model.preprocess import Pixels

WHAT_ANSWERS = (ENCODER, GRADIENT, EXEMPLARS)


@dataclass(frozen=True, eq=False)
class EvaluationContext:
    """A bundle and the images of its test set that are attacked.

    Attributes:
        bundle: open and complete.
        classifier: over it.
        victim: what an attacker knows who knows everything.
        splits: of the data set that it was made from.
        rows: int64 [N], the attacked rows of the test set, ascending.

    """

    bundle: Bundle
    classifier: Classifier
    victim: Victim
    splits: Splits
    rows: NDArray[np.int64]

    @classmethod
    def open(
        cls,
        directory: Path,
        splits: Splits,
        *,
        images: int | None,
        seed: int,
        threads: int,
        serve_on: DeviceChoice = "cpu",
        serve_in: Precision = "float32",
        encoder: nn.Module | None = None,
    ) -> Self:
        """Open the bundle in `directory` and draw `images` test images by `seed`, or all.

        For `serve_on` and `serve_in` see `open_served`, for `encoder` see `evaluate`.

        Raises:
            BundleError, DeviceError: see `Bundle.open`.
            HoldfastError: there are no test images, or they do not fit the bundle.

        """
        bundle = open_served(directory, threads, serve_on, serve_in)
        check_fit(bundle, splits.test)
        classifier = bundle.classifier()
        victim = victim_of(bundle, classifier, encoder, splits.test.images[:16], threads)
        return cls(bundle, classifier, victim, splits, drawn(len(splits.test), images, seed))

    @cached_property
    def attacked(self) -> LabelledImages:
        """The images that are attacked."""
        return self.splits.test.take(self.rows)

    @property
    def images(self) -> Pixels:
        """Of `attacked`: uint8 [N, H, W, 3]."""
        return self.attacked.images

    @property
    def labels(self) -> NDArray[np.int64]:
        """Of `attacked`: int64 [N]."""
        return self.attacked.labels

    @cached_property
    def spare(self) -> LabelledImages:
        """Labelled images that are neither attacked nor exemplars: calibration images, and the rest of the test set."""
        held, test = self.splits.calibration, self.splits.test
        both = LabelledImages(
            np.concatenate([held.images, test.images]),
            np.concatenate([held.labels, test.labels]),
            test.class_names,
            [*held.sources, *test.sources],
        )
        return attackers_images(both, self.images, self.bundle.exemplars.sources)

    @cached_property
    def without_bank(self) -> Victim:
        """The victim as one sees it who does not know the exemplars. Raises HoldfastError where `spare` lacks a class."""
        return bank_unknown(self.victim, self.spare.images, self.spare.labels, attacked=self.images)

    @property
    def classes(self) -> int:
        """How many classes have exemplars."""
        return len(torch.bincount(self.victim.surrogate.labels).nonzero())

    @property
    def served_on(self) -> str:
        """The device that computed the answers which decide: "cpu", or "cuda: " and the GPU's name."""
        return str(replace(self.bundle.placement, reason=""))

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for two evaluations to be of the same thing.

        Another GPU's last digits are others, and so may be an answer. Work that names no device was done on the CPU.
        """
        manifest = self.bundle.manifest
        elsewhere = {} if self.bundle.placement.device == "cpu" else {"served on": self.served_on}
        return elsewhere | {
            "files": {name: manifest.files.get(name) for name in (*WHAT_ANSWERS, manifest.index_file)},
            "vote": manifest.vote.model_dump(),
            "surrogate temperature": manifest.surrogate_tau,
            "abstain below": manifest.calibration.abstain_below if manifest.calibration else None,
            "data": self.splits.sha256,
        }


def answers_of(classify: Callable[[Pixels], Answers], images: Pixels) -> Answers:
    """All that is served for uint8 [N, H, W, 3] images, N >= 1, a batch at a time."""
    parts = [classify(images[start : start + JUDGED_AT_ONCE]) for start in range(0, len(images), JUDGED_AT_ONCE)]

    def joined(field: Callable[[Answers], Any]) -> Any:
        return np.concatenate([field(part) for part in parts])

    return Answers(
        embeddings=joined(lambda a: a.embeddings),
        labels=joined(lambda a: a.labels),
        probabilities=joined(lambda a: a.probabilities),
        credibility=joined(lambda a: a.credibility),
        confidence=joined(lambda a: a.confidence),
        abstain=joined(lambda a: a.abstain),
        soft_margin=joined(lambda a: a.soft_margin),
        kth_distance=joined(lambda a: a.kth_distance),
        neighbours=Neighbours(
            ids=joined(lambda a: a.neighbours.ids),
            labels=joined(lambda a: a.neighbours.labels),
            similarities=joined(lambda a: a.neighbours.similarities),
        ),
    )
