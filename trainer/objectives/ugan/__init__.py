"""Learning from few labels, between a good and a bad generator."""

from holdfast.trainer.objectives.ugan.objective import UganConfig

__all__ = ["UganConfig"]
