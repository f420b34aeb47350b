"""What the prober needs from its settings and from the metrics, and nothing more."""

from typing import Literal, Protocol

from holdfast.server.monitor.probes.flip_rate import Interval

Outcome = Literal["flip", "hold", "error"]


class ProbeSettings(Protocol):
    """The probing part of the server's settings."""

    @property
    def probe_rate(self) -> float:
        """The share of answered images that is probed, in [0, 1]."""

    @property
    def probe_budget(self) -> float:
        """CPU seconds per second of wall clock."""

    @property
    def probe_epsilons(self) -> tuple[float, ...]:
        """L-infinity radii, pixels in [0, 1]."""

    @property
    def probe_steps(self) -> int:
        """Gradient steps of one PGD probe."""


class ProbeMetrics(Protocol):
    """Where the results go, and the only place where they go."""

    def probe_shed(self) -> None:
        """One sample was dropped because the queue was full."""

    def probe_done(self, attack: str, epsilon: float, outcome: Outcome, seconds: float) -> None:
        """One probe ended, after that many seconds of CPU."""

    def flip_rate(self, attack: str, epsilon: float, rate: Interval) -> None:
        """The flip rate of one attack at one epsilon is now this."""
