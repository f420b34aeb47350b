"""Who is attacked with what: the opened bundle, the test images drawn, and those that are left to an attacker."""

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
from holdfast.bundle.reader import ENCODER, EXEMPLARS, GRADIENT, HEAD, Bundle
from holdfast.bundle.threat_model import ThreatModel
from holdfast.data import LabelledImages, Splits
from holdfast.errors import HoldfastError
from holdfast.evaluation.plan import EvaluationPlan
from holdfast.evaluation.victim import check_fit, open_served, victim_of
from holdfast.model.classifier import Classifier
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
    def open(cls, directory: Path, splits: Splits, plan: EvaluationPlan, encoder: nn.Module | None = None) -> Self:
        """Open the bundle in `directory` where `plan` serves it, and draw the test images that `plan` attacks.

        For `encoder` see `evaluate`.

        Raises:
            BundleError, DeviceError: see `Bundle.open`.
            HoldfastError: there are no test images, or they do not fit the bundle.

        """
        bundle = open_served(directory, plan.threads, plan.serve_on, plan.serve_in)
        check_fit(bundle, splits.test)
        classifier = bundle.classifier()
        victim = victim_of(bundle, classifier, encoder, splits.test.images[:16], plan.threads)
        return cls(bundle, classifier, victim, splits, drawn(len(splits.test), plan.images, plan.seed))

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
        """The victim as one sees it who does not know the exemplars.

        Raises:
            HoldfastError: `spare` lacks a class.

        """
        try:
            return bank_unknown(self.victim, self.spare.images, self.spare.labels, attacked=self.images)
        except HoldfastError as error:
            raise HoldfastError(
                f"an attacker without the bank needs labelled images that are not attacked: {error}; attack fewer by --images"
            ) from error

    @property
    def own_ball(self) -> ThreatModel:
        """The bundle's own threat model."""
        return self.bundle.manifest.ball

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

        Another GPU's last digits are others, and so may be an answer. Results that name no device were computed on the CPU.
        """
        manifest = self.bundle.manifest
        elsewhere = {} if self.bundle.placement.device == "cpu" else {"served on": self.served_on}
        judged_by = (HEAD,) if HEAD in manifest.files else ()
        return elsewhere | {
            "files": {name: manifest.files.get(name) for name in (*WHAT_ANSWERS, *judged_by, *manifest.index_files)},
            "vote": manifest.vote.model_dump(),
            "surrogate temperature": manifest.surrogate_tau,
            "abstain below": manifest.abstain_below,
            "data": self.splits.sha256,
        }


def drawn(total: int, limit: int | None, seed: int) -> NDArray[np.int64]:
    """`limit` of the rows 0 to total - 1, drawn by `seed`, ascending; all where there are no more than that."""
    if limit is None or limit >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).permutation(total)[:limit])


def only_test(test: LabelledImages) -> Splits:
    """A data set of which nothing but its test images is at hand."""
    return Splits(test.take([]), test.take([]), test)
