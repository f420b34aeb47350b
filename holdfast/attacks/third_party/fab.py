"""FAB-T (Croce and Hein 2020, arXiv 1907.02044), by pyautoattack: the shortest way over the surrogate's boundary."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from holdfast.attacks.attack import Attack, AttackBatch, AttackKind
from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.third_party.library import NORMS, load
from holdfast.attacks.third_party.logits import SurrogateLogits
from holdfast.attacks.third_party.served import fools


@dataclass(frozen=True)
class FabTargeted(Attack):
    """FAB toward each of the strongest wrong classes, on the soft kNN at temperature `tau`.

    It stops right behind the boundary of the surrogate, where the vote may still say otherwise. So each class's point is
    tried twice: where it lies, and moved on along the same line to the rim of the ball; what lies outside is brought
    back to the rim. The first that fools the served answer is kept, else the one that was nearest. There is no random
    start: the same attack twice in a suite finds the same twice.

    Attributes:
        tau: temperature.
        steps: iterations for each class.
        targets: how many wrong classes, the strongest first; fewer where there are not so many.

    """

    tau: float
    steps: int = 100
    targets: int = 9
    kind = AttackKind.WHITE_BOX

    def __str__(self) -> str:
        return f"FAB-T tau {self.tau:g} {self.targets} classes"

    def run(self, batch: AttackBatch) -> Tensor:
        """The nearest points of another class, in the ball; clean images where the surrogate was wrong already."""
        pixels, labels, logits = batch.pixels, batch.labels, SurrogateLogits(batch.victim, self.tau)
        norm, epsilon = NORMS[batch.threat.norm], batch.threat.epsilon
        fab = load("pyautoattack.fab_pt").FABAttack_PT(
            logits, norm, n_iter=self.steps, eps=epsilon, targeted=True, device=pixels.device
        )
        best, nearest = pixels.clone(), torch.full((len(pixels),), torch.inf, device=pixels.device)
        for rank in range(1, min(self.targets, logits.present - 1) + 1):
            left = torch.nonzero(nearest >= 0)[:, 0]
            if len(left) == 0:
                break
            fab.target_class = rank + 1  # counted from the strongest class of all
            found = fab.attack_single_run(pixels[left], labels[left], is_targeted=True)
            candidates, distance = _in_the_ball(replace(batch, pixels=pixels[left], labels=labels[left]), found)
            nearer = distance < nearest[left]
            best[left[nearer]], nearest[left[nearer]] = candidates[nearer], distance[nearer]
        return best


def _in_the_ball(batch: AttackBatch, found: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates float [n, 3, H, W], and how far each found point lies: -1 where the candidate fools, inf for no point."""
    pixels, geometry = batch.pixels, geometry_of(batch.threat)
    distance = geometry.lengths(found - pixels)
    stretch = (batch.threat.epsilon / distance.clamp_min(1e-12)).clamp_min(1).reshape(-1, 1, 1, 1)
    there = geometry.project(found, pixels)
    on_the_rim = geometry.project(pixels + (found - pixels) * stretch, pixels)
    fooled_there, fooled_on_the_rim = (fools(batch, points) for points in (there, on_the_rim))
    further = (fooled_on_the_rim & ~fooled_there).reshape(-1, 1, 1, 1)
    distance = distance.masked_fill(distance == 0, torch.inf).masked_fill(fooled_there | fooled_on_the_rim, -1)
    return torch.where(further, on_the_rim, there), distance
