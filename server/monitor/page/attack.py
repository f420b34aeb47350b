"""The attack of the bench: a picture of the operator's, moved within a ball until its answer changes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from holdfast.attacks.numpy_pgd import Floats, margin_slopes, numpy_geometry_of, numpy_pgd, to_floats
from holdfast.attacks.rounding import round_within
from holdfast.bundle.threat_model import ThreatModel
from holdfast.errors import BundleError, HoldfastError
from holdfast.model.answers import Answers
from holdfast.model.preprocess import Pixels
from holdfast.server.core.snapshot import ModelSnapshot


class BenchError(HoldfastError):
    """An attack that the served model does not allow, or that makes no sense."""


@dataclass(frozen=True, slots=True)
class AttackStep:
    """How far an attack is.

    Attributes:
        step: candidates tried, from 1.
        steps: how many there will be.
        flipped_at: the first of them that was answered otherwise; None where none was yet.
        tried: uint8 [1, H, W, 3], the latest.
        tried_answers: the model's answer to it, of one row.
        image: uint8 [H, W, 3], the best one so far.
        answers: the model's answer to it, of one row.

    """

    step: int
    steps: int
    flipped_at: int | None
    tried: Pixels
    tried_answers: Answers
    image: Pixels
    answers: Answers


class BenchAttack:
    """Projected gradient descent on the soft-kNN margin of the served label, through gradient.onnx, from one random start.

    The attacker knows encoder, exemplars and vote, and aims at credibility, too: of all candidates that are answered otherwise
    the one of the highest credibility is shown; where there is none, the one of the lowest soft margin.

    Args:
        snapshot: the model, which answers every candidate.
        image: uint8 [H, W, 3], as the encoder takes it.
        clean: the model's answer to it, of one row.
        threat: the ball.
        steps: gradient steps.
        rng: of the start.

    Raises:
        BenchError: the ball changes no grey level, or the bundle has no exemplars or no gradient to attack with.

    """

    def __init__(
        self,
        snapshot: ModelSnapshot,
        image: Pixels,
        clean: Answers,
        threat: ThreatModel,
        *,
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        if threat.epsilon * 255 < 1:
            raise BenchError("this epsilon changes no grey level: take 1/255 or more")
        if snapshot.classifier.surrogate is None:
            raise BenchError("the attack follows the exemplars, which this bundle's index does not hand out")
        self._snapshot, self._image, self._threat, self._steps = snapshot, image[np.newaxis], threat, steps
        self._label = int(clean.labels[0])
        try:
            self._slopes = margin_slopes(snapshot.classifier.surrogate, snapshot.gradient, clean.labels)
        except BundleError as error:
            raise BenchError(str(error)) from None
        self._start = self._random_start(rng)

    def run(self) -> Iterator[AttackStep]:
        """One step after the other, each within milliseconds for a small encoder."""
        by_pixel = self._threat.norm == "linf"
        size = 2.5 * self._threat.epsilon / self._steps
        search = numpy_pgd(
            self._image,
            self._slopes,
            self._threat,
            steps=self._steps,
            step_size=max(1, round(size * 255)) / 255 if by_pixel else size,
            start=self._start,
            on_grid=by_pixel,  # a Euclidean step may be too short to survive rounding
        )
        best: tuple[tuple[bool, float], Pixels, Answers] | None = None
        flipped_at = None
        candidates = next(search)
        for step in range(1, self._steps + 2):
            answers = self._snapshot.classifier.classify(candidates)
            worth = self._worth(answers)
            if worth[0] and flipped_at is None:
                flipped_at = step
            if best is None or worth > best[0]:
                best = worth, candidates[0].copy(), answers
            yield AttackStep(step, self._steps + 1, flipped_at, candidates, answers, best[1], best[2])
            if step <= self._steps:
                candidates = search.send(answers.embeddings)

    def _worth(self, answers: Answers) -> tuple[bool, float]:
        """What an attacker wants more is larger: another label, and to be believed."""
        flipped = int(answers.labels[0]) != self._label
        margin, credibility = float(answers.soft_margin[0]), float(answers.credibility[0])
        if not flipped:
            return False, -margin
        return True, margin if np.isnan(credibility) else credibility

    def _random_start(self, rng: np.random.Generator) -> Floats:
        """float32 [1, H, W, 3], a picture in the ball."""
        geometry = numpy_geometry_of(self._threat)
        start = geometry.random_start(self._image.astype(np.float64) / 255, rng)
        return to_floats(round_within(start, self._image, self._threat))
