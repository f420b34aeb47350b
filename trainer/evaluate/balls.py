"""Balls by the words a person types for them: "linf:8/255", "l2:0.5"."""

import math
from collections.abc import Iterable
from fractions import Fraction

from bundle.errors import HoldfastError
from bundle.threat_model import ThreatModel

FORM = 'write NORM:EPSILON with pixels in [0, 1], for instance "linf:8/255" or "l2:0.5"'
STANDARD = ("linf:2/255", "linf:4/255", "linf:8/255", "l2:0.5")


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


def in_order(balls: Iterable[ThreatModel]) -> tuple[ThreatModel, ...]:
    """Each once, L-inf first, the smaller before the larger: what fools within a small ball fools within a larger one."""
    return tuple(sorted(set(balls), key=lambda threat: (threat.norm != "linf", threat.epsilon)))


def slug(threat: ThreatModel) -> str:
    """For the name of a file: "linf-0.031373"."""
    return f"{threat.norm}-{threat.epsilon:.6g}"
