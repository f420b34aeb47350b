"""Learning on from a stream without forgetting."""

from holdfast.trainer.objectives.sequential.objective import LabelFreeConfig, Sequential, SequentialConfig

__all__ = ["LabelFreeConfig", "Sequential", "SequentialConfig"]
