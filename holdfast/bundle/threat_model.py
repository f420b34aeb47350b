"""What the attacker may do to an image."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from holdfast.errors import HoldfastError

Norm = Literal["linf", "l2"]

FORM = 'write NORM:EPSILON with pixels in [0, 1], for instance "linf:8/255" or "l2:0.5"'


@dataclass(frozen=True, slots=True)
class ThreatModel:
    """The attacker may move an image anywhere within a ball around it.

    Args:
        norm: "linf" bounds each pixel's change, "l2" the Euclidean length of the whole change.
        epsilon: the ball's radius, in pixels of [0, 1].

    Raises:
        ValueError: epsilon is negative or not finite, or the norm has another name.

    """

    norm: Norm
    epsilon: float

    def __post_init__(self) -> None:
        if self.norm not in {"linf", "l2"}:
            raise ValueError(f"unknown norm {self.norm!r}: use 'linf' or 'l2'")
        if not 0 <= self.epsilon < float("inf"):
            raise ValueError(f"epsilon must be a finite number of at least 0 (pixels in [0, 1]), not {self.epsilon}")

    def __str__(self) -> str:
        name = {"linf": "L-inf", "l2": "L2"}[self.norm]
        levels = self.epsilon * 255
        if self.norm == "linf" and abs(levels - round(levels)) < 1e-6:
            return f"{name} {round(levels)}/255"
        return f"{name} {self.epsilon:g}"


def ball(text: str) -> ThreatModel:
    """The ball that `text` names.

    Raises:
        HoldfastError: it names none; the message shows how to write one.

    """
    norm, colon, radius = text.strip().lower().partition(":")
    if not colon or norm not in {"linf", "l2"}:
        raise HoldfastError(f"{text!r} is no ball: {FORM}")
    try:
        epsilon = float(Fraction(radius.strip()))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise HoldfastError(f"{text!r} is no ball, {radius!r} is no number: {FORM}") from None
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise HoldfastError(f"{text!r} is no ball, its radius must be more than 0: {FORM}")
    if norm == "linf" and epsilon > 1:
        raise HoldfastError(f"{text!r} reaches beyond black and white: pixels lie in [0, 1], so write {radius}/255")
    return ThreatModel("linf" if norm == "linf" else "l2", epsilon)
