"""What the attacker may do to an image."""

from dataclasses import dataclass
from typing import Literal

Norm = Literal["linf", "l2"]


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
