"""FAB-T (Croce and Hein 2020, arXiv 1907.02044), by pyautoattack: the shortest way over the surrogate's boundary."""

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.attacks.attack import Kind
from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.third_party.library import NORMS, load
from holdfast.attacks.third_party.logits import SurrogateLogits
from holdfast.attacks.third_party.served import fools, lengths
from holdfast.attacks.victim import Victim
from holdfast.bundle.threat_model import ThreatModel


@dataclass(frozen=True)
class FabTargeted:
    """FAB toward each of the strongest wrong classes, on the soft kNN at temperature `tau`.

    It stops right behind the boundary of the surrogate, where the vote may still say otherwise. So each class's point is
    tried twice: where it lies, and moved on along the same line to the rim of the ball; what lies outside is brought
    back to the rim. The first that fools the served answer is kept, else the one that was nearest. There is no random
    start: the same step twice in a ladder finds the same twice.

    Attributes:
        tau: temperature.
        steps: iterations for each class.
        targets: how many wrong classes, the strongest first; fewer where there are not so many.

    """

    tau: float
    steps: int = 100
    targets: int = 9

    def __str__(self) -> str:
        return f"FAB-T tau {self.tau:g} {self.targets} classes"

    @property
    def kind(self) -> Kind:
        """Gradients and bank."""
        return Kind.WHITE_BOX

    def __call__(
        self,
        victim: Victim,
        pixels: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        generator: torch.Generator,  # noqa: ARG002 - nothing here is random
    ) -> Tensor:
        """The nearest points of another class, in the ball; clean images where the surrogate was wrong already. See `Step`."""
        logits = SurrogateLogits(victim, self.tau)
        fab = load("pyautoattack.fab_pt").FABAttack_PT(
            logits, NORMS[threat.norm], n_iter=self.steps, eps=threat.epsilon, targeted=True, device=pixels.device
        )
        best, nearest = pixels.clone(), torch.full((len(pixels),), torch.inf, device=pixels.device)
        for rank in range(1, min(self.targets, logits.present - 1) + 1):
            left = torch.nonzero(nearest >= 0)[:, 0]
            if len(left) == 0:
                break
            fab.target_class = rank + 1  # counted from the strongest class of all
            found = fab.attack_single_run(pixels[left], labels[left], is_targeted=True)
            candidates, distance = _in_the_ball(victim, found, pixels[left], labels[left], threat)
            nearer = distance < nearest[left]
            best[left[nearer]], nearest[left[nearer]] = candidates[nearer], distance[nearer]
        return best


def _in_the_ball(victim: Victim, found: Tensor, pixels: Tensor, labels: Tensor, threat: ThreatModel) -> tuple[Tensor, Tensor]:
    """Candidates float [n, 3, H, W], and how far each found point lies: -1 where the candidate fools, inf for no point."""
    distance = lengths(found - pixels, threat)
    stretch = (threat.epsilon / distance.clamp_min(1e-12)).clamp_min(1).reshape(-1, 1, 1, 1)
    geometry = geometry_of(threat)
    there = geometry.project(found, pixels)
    on_the_rim = geometry.project(pixels + (found - pixels) * stretch, pixels)
    fooled_there, fooled_on_the_rim = (fools(victim, points, pixels, labels, threat) for points in (there, on_the_rim))
    further = (fooled_on_the_rim & ~fooled_there).reshape(-1, 1, 1, 1)
    distance = distance.masked_fill(distance == 0, torch.inf).masked_fill(fooled_there | fooled_on_the_rim, -1)
    return torch.where(further, on_the_rim, there), distance
