"""APGD of AutoAttack (Croce and Hein 2020, arXiv 2003.01690), by pyautoattack: PGD that chooses its own step sizes.

Each step here is one random start; restarts are the same step several times in the ladder. What comes back is for each
image the point of the largest loss, fooled or not: the surrogate's opinion of success is not the vote's.
"""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holdfast.attacks.attack import Kind
from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.third_party.library import NORMS, load, seed_from, undisturbed
from holdfast.attacks.third_party.logits import SurrogateLogits
from holdfast.attacks.victim import Victim
from holdfast.bundle.threat_model import ThreatModel

# It warns where gradients vanish, which the evaluation counts and judges itself. Filters of warnings are global, and
# attacks may run side by side; a logger of one's own is not.
_unheard = logging.getLogger(__name__)
_unheard.disabled = True

DLR_CLASSES = 4
"""The targeted DLR loss is scaled by the distance from the largest logit to the third and fourth."""


@dataclass(frozen=True)
class ApgdCE:
    """APGD on the cross-entropy of the soft kNN at temperature `tau`."""

    tau: float
    steps: int = 100

    def __str__(self) -> str:
        return f"APGD-CE tau {self.tau:g}"

    @property
    def kind(self) -> Kind:
        """Gradients and bank."""
        return Kind.WHITE_BOX

    def __call__(
        self, victim: Victim, pixels: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> Tensor:
        """The points of the largest cross-entropy; see `Step`."""
        apgd = load("pyautoattack.autopgd_base").APGDAttack(
            SurrogateLogits(victim, self.tau), n_iter=self.steps, norm=NORMS[threat.norm], eps=threat.epsilon, loss="ce"
        )
        return _climb(apgd, pixels, labels, threat, generator)


@dataclass(frozen=True)
class ApgdTargeted:
    """APGD on the targeted DLR loss, toward the `rank`-th strongest wrong class at the clean image (1 is the strongest).

    With fewer than four classes that loss has no scale; the plain difference of the two logits is climbed instead. In
    either norm APGD looks at an image's gradient but for its length, so little is lost.
    """

    tau: float
    rank: int
    steps: int = 100

    def __str__(self) -> str:
        return f"APGD-T tau {self.tau:g} class {self.rank}"

    @property
    def kind(self) -> Kind:
        """Gradients and bank."""
        return Kind.WHITE_BOX

    def __call__(
        self, victim: Victim, pixels: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator
    ) -> Tensor:
        """The points of the largest targeted loss; see `Step`.

        Raises:
            HoldfastError: `rank` is not below the number of classes.

        """
        logits = SurrogateLogits(victim, self.tau)
        apgd = load("pyautoattack.autopgd_base").APGDAttack_targeted(
            logits, n_iter=self.steps, norm=NORMS[threat.norm], eps=threat.epsilon
        )
        targets = logits.wrong_class(pixels, labels, self.rank)
        apgd.y_target = targets
        if logits.present < DLR_CLASSES:

            def difference(scores: Tensor, own: Tensor) -> Tensor:
                return (scores.gather(1, targets[:, None]) - scores.gather(1, own[:, None]))[:, 0]

            apgd.dlr_loss_targeted = difference
        return _climb(apgd, pixels, labels, threat, generator)


def _climb(apgd: Any, pixels: Tensor, labels: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """One random start. Its own `perturb` keeps only what fools the surrogate; a single run tells the best loss of all."""
    if len(pixels) == 0:
        return pixels.clone()
    apgd.init_hyperparam(pixels)
    apgd.logger = _unheard
    start = _start(apgd, pixels, threat, generator)
    with undisturbed():  # It draws a start of its own even so.
        best, _, _, _ = apgd.attack_single_run(pixels, labels, x_init=start)
    return geometry_of(threat).project(best.detach(), pixels)


def _start(apgd: Any, pixels: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Where APGD starts: on the rim of the ball, as its authors do, but from `generator` and no global random numbers."""
    drawn = torch.Generator().manual_seed(seed_from(generator))
    if threat.norm == "linf":
        directions = 2 * torch.rand(pixels.shape, generator=drawn) - 1
    else:
        directions = torch.randn(pixels.shape, generator=drawn)
    start: Tensor = pixels + threat.epsilon * apgd.normalize(directions.to(pixels.device))
    return start
