"""APGD of AutoAttack (Croce and Hein 2020, arXiv 2003.01690), by pyautoattack: PGD that chooses its own step sizes.

Each attack here is one random start; restarts are the same attack several times in a suite. What comes back is for each
image the point of the largest loss, fooled or not: the surrogate's opinion of success is not the vote's.
"""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holdfast.attacks.attack import Attack, AttackBatch, AttackKind
from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.third_party.library import NORMS, load, seed_from, undisturbed
from holdfast.attacks.third_party.logits import SurrogateLogits

# It warns where gradients vanish, which the evaluation counts and judges itself. Filters of warnings are global, and
# attacks may run side by side; a logger of one's own is not.
_unheard = logging.getLogger(__name__)
_unheard.disabled = True

DLR_CLASSES = 4
"""The targeted DLR loss is scaled by the distance from the largest logit to the third and fourth."""


@dataclass(frozen=True)
class ApgdCE(Attack):
    """APGD on the cross-entropy of the soft kNN at temperature `tau`."""

    tau: float
    steps: int = 100
    kind = AttackKind.WHITE_BOX

    def __str__(self) -> str:
        return f"APGD-CE tau {self.tau:g}"

    def run(self, batch: AttackBatch) -> Tensor:
        """The points of the largest cross-entropy."""
        norm, logits = NORMS[batch.threat.norm], SurrogateLogits(batch.victim, self.tau)
        apgd = load("pyautoattack.autopgd_base").APGDAttack(
            logits, n_iter=self.steps, norm=norm, eps=batch.threat.epsilon, loss="ce"
        )
        return _run_once(apgd, batch)


@dataclass(frozen=True)
class ApgdTargeted(Attack):
    """APGD on the targeted DLR loss, toward the `rank`-th strongest wrong class at the clean image (1 is the strongest).

    With fewer than four classes that loss has no scale; the plain difference of the two logits is maximised instead. In
    either norm APGD looks at an image's gradient but for its length, so little is lost.
    """

    tau: float
    rank: int
    steps: int = 100
    kind = AttackKind.WHITE_BOX

    def __str__(self) -> str:
        return f"APGD-T tau {self.tau:g} class {self.rank}"

    def run(self, batch: AttackBatch) -> Tensor:
        """The points of the largest targeted loss.

        Raises:
            HoldfastError: `rank` is not below the number of classes.

        """
        norm, logits = NORMS[batch.threat.norm], SurrogateLogits(batch.victim, self.tau)
        apgd = load("pyautoattack.autopgd_base").APGDAttack_targeted(
            logits, n_iter=self.steps, norm=norm, eps=batch.threat.epsilon
        )
        targets = logits.wrong_class(batch.pixels, batch.labels, self.rank)
        apgd.y_target = targets
        if logits.present < DLR_CLASSES:

            def difference(scores: Tensor, own: Tensor) -> Tensor:
                return (scores.gather(1, targets[:, None]) - scores.gather(1, own[:, None]))[:, 0]

            apgd.dlr_loss_targeted = difference
        return _run_once(apgd, batch)


def _run_once(apgd: Any, batch: AttackBatch) -> Tensor:
    """One random start. Its own `perturb` keeps only what fools the surrogate; a single run returns the best loss of all."""
    pixels = batch.pixels
    apgd.init_hyperparam(pixels)
    apgd.logger = _unheard
    start = _start(apgd, batch)
    with undisturbed():  # It draws a start of its own even so.
        best, _, _, _ = apgd.attack_single_run(pixels, batch.labels, x_init=start)
    return geometry_of(batch.threat).project(best.detach(), pixels)


def _start(apgd: Any, batch: AttackBatch) -> Tensor:
    """Where APGD starts: on the rim of the ball, as its authors do, but drawn from the batch's generator."""
    pixels, drawn = batch.pixels, torch.Generator().manual_seed(seed_from(batch.generator))
    if batch.threat.norm == "linf":
        directions = 2 * torch.rand(pixels.shape, generator=drawn) - 1
    else:
        directions = torch.randn(pixels.shape, generator=drawn)
    start: Tensor = pixels + batch.threat.epsilon * apgd.normalize(directions.to(pixels.device))
    return start
