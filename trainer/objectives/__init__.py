"""What one can train for. A new objective is a file, a member of `ObjectiveConfig` and a case of `build_objective`."""

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.amdim import AmdimObjective, AmdimObjectiveConfig
from holdfast.trainer.objectives.base import Batch, Objective
from holdfast.trainer.objectives.clusters import Clusters, ClustersConfig
from holdfast.trainer.objectives.deacl import Deacl, DeaclConfig
from holdfast.trainer.objectives.simclr import Simclr, SimclrConfig
from holdfast.trainer.objectives.ssat import GuidedSsat, LabelFreeSsat, SsatConfig
from holdfast.trainer.objectives.supervised import Supervised, SupervisedConfig
from holdfast.trainer.objectives.supervised_adversarial import SupervisedAdversarial, SupervisedAdversarialConfig
from holdfast.trainer.objectives.trades import Trades, TradesConfig

ObjectiveConfig = (
    AmdimObjectiveConfig
    | ClustersConfig
    | DeaclConfig
    | SimclrConfig
    | SsatConfig
    | SupervisedConfig
    | SupervisedAdversarialConfig
    | TradesConfig
)

__all__ = [
    "AmdimObjectiveConfig",
    "Batch",
    "ClustersConfig",
    "DeaclConfig",
    "Objective",
    "ObjectiveConfig",
    "SimclrConfig",
    "SsatConfig",
    "SupervisedAdversarialConfig",
    "SupervisedConfig",
    "TradesConfig",
    "build_objective",
]


def build_objective(  # noqa: PLR0911 - one for each objective
    config: ObjectiveConfig, encoder: ImageEncoder, classes: int
) -> Objective:
    """A fresh objective for `encoder`, with its heads initialised from torch's global random state."""
    match config:
        case AmdimObjectiveConfig():
            return AmdimObjective(config, encoder)
        case ClustersConfig():
            return Clusters(config, encoder)
        case DeaclConfig():
            return Deacl(config, encoder)
        case SimclrConfig():
            return Simclr(config, encoder)
        case SsatConfig(arm="guided"):
            return GuidedSsat(config, encoder)
        case SsatConfig():
            return LabelFreeSsat(config, encoder)
        case SupervisedConfig():
            return Supervised(config, encoder, classes)
        case SupervisedAdversarialConfig():
            return SupervisedAdversarial(config, encoder, classes)
        case TradesConfig():
            return Trades(config, encoder, classes)
