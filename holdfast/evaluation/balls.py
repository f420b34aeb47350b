"""The balls of an evaluation: which, in which order, and what their files are called."""

from collections.abc import Iterable

from holdfast.bundle.threat_model import ThreatModel

STANDARD = ("linf:2/255", "linf:4/255", "linf:8/255", "l2:0.5")


def in_order(balls: Iterable[ThreatModel]) -> tuple[ThreatModel, ...]:
    """Each once, L-inf first, the smaller before the larger: what fools within a small ball fools within a larger one."""
    return tuple(sorted(set(balls), key=lambda threat: (threat.norm != "linf", threat.epsilon)))


def slug(threat: ThreatModel) -> str:
    """For the name of a file: "linf-0.031373"."""
    return f"{threat.norm}-{threat.epsilon:.6g}"
