"""The Square attack (Andriushchenko et al. 2020, arXiv 1912.00049), by pyautoattack: random squares, no gradients."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from holdfast.attacks.attack import Attack, AttackBatch, AttackKind
from holdfast.attacks.geometry import geometry_of
from holdfast.attacks.quantise import to_images, to_images_within, to_pixels
from holdfast.attacks.third_party.library import NORMS, load, seeded
from holdfast.attacks.third_party.logits import SurrogateLogits
from holdfast.attacks.victim import Victim, is_fooled
from holdfast.bundle.threat_model import ThreatModel
from holdfast.model.preprocess import Pixels


@dataclass(frozen=True)
class SquareScores(Attack):
    """Square on continuous scores: those of `Victim.scores`, else the whole-bank soft kNN at the victim's own temperature.

    Vote counts would do the defence a favour: they are flat nearly everywhere, and a random search on a plain finds
    nothing. So where a victim names no scores, the attacker sees better ones than a server publishes.

    An image is done when the served answer is wrong; that the scores favour another class is not enough. The served
    answer is only asked for where they do.

    Attributes:
        queries: images tried for each image attacked.

    """

    queries: int = 5000
    kind = AttackKind.BLACK_BOX

    def __str__(self) -> str:
        return f"Square {self.queries} queries"

    def run(self, batch: AttackBatch) -> Tensor:
        """What fooled the served answer, else the points of the smallest margin."""
        pixels, threat = batch.pixels, batch.threat
        square = load("pyautoattack.square").SquareAttack(
            None, norm=NORMS[threat.norm], n_queries=self.queries, eps=threat.epsilon
        )
        square.margin_and_loss = _Answers(batch.victim, to_images(pixels), threat)
        square.init_hyperparam(pixels)
        with seeded(batch.generator):
            _, best = square.attack_single_run(pixels, batch.labels)
        return geometry_of(threat).project(best, pixels)


class _Answers:
    """What Square learns of its proposals, in place of its own `margin_and_loss`."""

    def __init__(self, victim: Victim, clean: Pixels, threat: ThreatModel) -> None:
        self._victim, self._clean, self._threat = victim, clean, threat
        self._logits = SurrogateLogits(victim)
        # Square goes on with those whose margin is positive, in their old order.
        self._rows = np.arange(len(clean))

    def __call__(self, proposals: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Float [n, 3, H, W], int64 [n] -> (-1 where the served answer is wrong and else 1, the margin of the scores)."""
        images = to_images_within(proposals, self._clean[self._rows], self._threat)
        scores, own = self._scores(images, proposals.device), labels[:, None]
        margins = scores.gather(1, own)[:, 0] - scores.scatter(1, own, -torch.inf).amax(1)
        hopeful = np.flatnonzero((margins <= 0).cpu().numpy())
        fooled = np.zeros(len(images), dtype=bool)
        if len(hopeful):
            fooled[hopeful] = is_fooled(self._victim.answer(images[hopeful]), labels.cpu().numpy()[hopeful])
        self._rows = self._rows[~fooled]
        return torch.where(torch.from_numpy(fooled).to(margins.device), -1.0, 1.0), margins

    def _scores(self, images: Pixels, device: torch.device) -> Tensor:
        if self._victim.scores is not None:
            return torch.from_numpy(np.asarray(self._victim.scores(images), dtype=np.float32)).to(device)
        with torch.no_grad():
            scores: Tensor = self._logits(to_pixels(images, device))
        return scores
