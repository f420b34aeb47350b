"""The encoders one can train. A new one is a file, a member of `EncoderConfig` and a case of `build_encoder`."""

from holdfast.trainer.encoders.amdim import AmdimConfig, AmdimEncoder
from holdfast.trainer.encoders.base import ImageEncoder
from holdfast.trainer.encoders.cost import Cost, cost_of
from holdfast.trainer.encoders.resnet import ResNetConfig, ResNetEncoder

EncoderConfig = AmdimConfig | ResNetConfig

__all__ = [
    "AmdimConfig",
    "AmdimEncoder",
    "Cost",
    "EncoderConfig",
    "ImageEncoder",
    "ResNetConfig",
    "ResNetEncoder",
    "build_encoder",
    "cost_of",
]


def build_encoder(config: EncoderConfig) -> ImageEncoder:
    """A freshly initialised encoder (from torch's global random state), on the CPU, in training mode."""
    match config:
        case AmdimConfig():
            return AmdimEncoder(config)
        case ResNetConfig():
            return ResNetEncoder(config)
