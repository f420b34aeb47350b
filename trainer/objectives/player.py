"""Who learns in an objective with several players: a generator beside a classifier, for instance."""

from dataclasses import dataclass
from typing import Literal

from torch import nn


@dataclass(frozen=True, slots=True)
class Player:
    """A part of an objective that learns in its own way. None everywhere means: as the stage says."""

    name: str
    """Names its column in the log, `gradient_norm_NAME`."""

    modules: tuple[nn.Module, ...]
    """All their parameters that require a gradient."""

    rate: float = 1.0
    """Its learning rate, as a factor of the stage's."""

    clip: float | None = None
    """Its longest gradient. Players are clipped one by one, so the gradient of one never shortens that of another."""

    betas: tuple[float, float] | None = None
    """Adam's decays; SGD has none."""

    weight_decay: float | None = None
    """Pull of its weights toward 0."""

    schedule: Literal["one-cycle", "constant"] | None = None
    """Schedule of its learning rate."""

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What it learns."""
        return [parameter for module in self.modules for parameter in module.parameters() if parameter.requires_grad]

    @property
    def column(self) -> str:
        """Name of its gradient norm in the log."""
        return f"gradient_norm_{self.name}"
