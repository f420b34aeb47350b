"""What the attacker may do to an image."""

import math
from dataclasses import dataclass
from typing import Literal

from holdfast.errors import HoldfastError

Norm = Literal["linf", "l2"]

EPSILON_FORM = 'write a number of at least 0, with pixels in [0, 1], for instance "8/255" or "0.03"'
FORM = 'write NORM:EPSILON with pixels in [0, 1], for instance "linf:8/255" or "l2:0.5"'


@dataclass(frozen=True, slots=True)
class ThreatModel:
    """The attacker may move an image anywhere within a ball around it.

    Args:
        norm: "linf" bounds each pixel's change, "l2" the Euclidean length of the whole change.
        epsilon: the ball's radius, in pixels of [0, 1].

    Raises:
        ValueError: epsilon is negative, not finite, or above 1 in L-inf; or the norm has another name.

    """

    norm: Norm
    epsilon: float

    def __post_init__(self) -> None:
        if self.norm not in {"linf", "l2"}:
            raise ValueError(f"unknown norm {self.norm!r}: use 'linf' or 'l2'")
        if not 0 <= self.epsilon < float("inf"):
            raise ValueError(f"epsilon must be a finite number of at least 0 (pixels in [0, 1]), not {self.epsilon}")
        if self.norm == "linf" and self.epsilon > 1:
            raise ValueError(
                f"epsilon {self.epsilon:g} reaches beyond black and white: pixels are in [0, 1]; did you mean"
                f" {self.epsilon:g}/255?"
            )

    def __str__(self) -> str:
        if self.norm == "linf":
            return f"L-inf {format_epsilon(self.epsilon)}"
        return f"L2 {self.epsilon:g}"


def parse_epsilon(text: str) -> float:
    """A radius in pixels of [0, 1] as people write it: "8/255", "0.5/255", "0.03", "1e-2".

    Raises:
        ValueError: it is no finite number of at least 0; the message shows how to write one.

    """
    numerator, slash, denominator = text.partition("/")
    try:
        epsilon = float(numerator) / (float(denominator) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        epsilon = math.nan
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"{text!r} is no epsilon: {EPSILON_FORM}")
    return epsilon


def format_epsilon(epsilon: float) -> str:
    """The radius as people write it: 8/255, or 0.03 where it is no whole number of grey levels."""
    levels = epsilon * 255
    whole = round(levels)
    return f"{whole}/255" if abs(levels - whole) < 1e-6 and (whole or not epsilon) else f"{epsilon:g}"


def ball(text: str) -> ThreatModel:
    """The ball that `text` names.

    Raises:
        HoldfastError: it names none; the message shows how to write one.

    """
    norm, colon, radius = text.strip().lower().partition(":")
    if not colon or norm not in {"linf", "l2"}:
        raise HoldfastError(f"{text!r} is no ball: {FORM}")
    try:
        epsilon = parse_epsilon(radius)
        threat = ThreatModel("linf" if norm == "linf" else "l2", epsilon)
    except ValueError as error:
        raise HoldfastError(f"{text!r} is no ball: {error}") from None
    if epsilon == 0:
        raise HoldfastError(f"{text!r} is no ball, its radius must be more than 0: {FORM}")
    return threat
