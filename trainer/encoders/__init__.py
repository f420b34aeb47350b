"""The encoders that can be trained. A new one is a file and a member of `EncoderConfig`."""

from holdfast.trainer.encoders.amdim import AmdimConfig, AmdimEncoder
from holdfast.trainer.encoders.base import ImageEncoder
from holdfast.trainer.encoders.resnet import ResNetConfig, ResNetEncoder

EncoderConfig = AmdimConfig | ResNetConfig

__all__ = [
    "AmdimConfig",
    "AmdimEncoder",
    "EncoderConfig",
    "ImageEncoder",
    "ResNetConfig",
    "ResNetEncoder",
    "build_encoder",
]


def build_encoder(config: EncoderConfig) -> ImageEncoder:
    """A freshly initialised encoder (from torch's global random state), on the CPU, in training mode."""
    return config.build()
