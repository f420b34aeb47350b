"""What the prober needs from its settings, and what a probe can come to."""

from pathlib import Path
from typing import Literal, Protocol

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

    @property
    def probe_queries(self) -> int:
        """Candidates of one Square probe."""

    @property
    def probe_attacks(self) -> tuple[str, ...]:
        """Names of attacks."""

    @property
    def probe_state(self) -> Path | None:
        """Where estimates are kept; nowhere if None."""
