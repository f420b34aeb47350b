"""`holdfast evaluate --address`: a running server, attacked over the network as a stranger would."""

from holdfast.evaluation.remote.attack import RemotePlan
from holdfast.evaluation.remote.command import main
from holdfast.evaluation.remote.measure import evaluate_remotely

__all__ = ["RemotePlan", "evaluate_remotely", "main"]
