"""What an encoder can be trained for. A new objective is a file and a member of `ObjectiveConfig`."""

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.adaptive.self_adaptive import SelfAdaptiveConfig
from holdfast.trainer.objectives.adaptive.self_distilled import SelfDistilledConfig
from holdfast.trainer.objectives.adaptive.targets import SelfAdaptation
from holdfast.trainer.objectives.base import ImageBatch, Objective, TrainingSet
from holdfast.trainer.objectives.contrastive.amdim import AmdimObjectiveConfig
from holdfast.trainer.objectives.contrastive.augmentation_adversarial import AugmentationAdversarialConfig
from holdfast.trainer.objectives.contrastive.simclr import SimclrConfig
from holdfast.trainer.objectives.distillation.adversarial import AdversarialDistillationConfig
from holdfast.trainer.objectives.distillation.clusters import ClustersConfig
from holdfast.trainer.objectives.distillation.deacl import DeaclConfig
from holdfast.trainer.objectives.distillation.fare import FareConfig
from holdfast.trainer.objectives.memory import ImageMemory, SharedBuffers
from holdfast.trainer.objectives.player import Player
from holdfast.trainer.objectives.pseudo_labelled import PseudoLabelledConfig
from holdfast.trainer.objectives.sequential import LabelFreeConfig, SequentialConfig
from holdfast.trainer.objectives.ssat import SsatConfig
from holdfast.trainer.objectives.supervised import SupervisedConfig
from holdfast.trainer.objectives.supervised_adversarial import SupervisedAdversarialConfig
from holdfast.trainer.objectives.trades import TradesConfig
from holdfast.trainer.objectives.ugan import UganConfig

ObjectiveConfig = (
    AdversarialDistillationConfig
    | AmdimObjectiveConfig
    | AugmentationAdversarialConfig
    | ClustersConfig
    | DeaclConfig
    | FareConfig
    | PseudoLabelledConfig
    | SelfAdaptiveConfig
    | SelfDistilledConfig
    | SequentialConfig
    | SimclrConfig
    | SsatConfig
    | SupervisedConfig
    | SupervisedAdversarialConfig
    | TradesConfig
    | UganConfig
)

__all__ = [
    "AdversarialDistillationConfig",
    "AmdimObjectiveConfig",
    "AugmentationAdversarialConfig",
    "ClustersConfig",
    "DeaclConfig",
    "FareConfig",
    "ImageBatch",
    "ImageMemory",
    "LabelFreeConfig",
    "Objective",
    "ObjectiveConfig",
    "Player",
    "PseudoLabelledConfig",
    "SelfAdaptation",
    "SelfAdaptiveConfig",
    "SelfDistilledConfig",
    "SequentialConfig",
    "SharedBuffers",
    "SimclrConfig",
    "SsatConfig",
    "SupervisedAdversarialConfig",
    "SupervisedConfig",
    "TradesConfig",
    "TrainingSet",
    "UganConfig",
    "build_objective",
]


def build_objective(config: ObjectiveConfig, encoder: ImageEncoder, classes: int) -> Objective:
    """A fresh objective for `encoder`, with its heads initialised from torch's global random state."""
    return config.build(encoder, classes)
