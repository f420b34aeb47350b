"""The encoders that can be trained. A new one is a file and a member of `EncoderConfig`."""

from holdfast.model.images.fitting import Fitting
from holdfast.trainer.encoders.amdim import AmdimConfig, AmdimEncoder
from holdfast.trainer.encoders.base import ImageEncoder
from holdfast.trainer.encoders.imported import GraphConfig, GraphEncoder
from holdfast.trainer.encoders.resnet import ResNetConfig, ResNetEncoder

EncoderConfig = AmdimConfig | GraphConfig | ResNetConfig

__all__ = [
    "AmdimConfig",
    "AmdimEncoder",
    "EncoderConfig",
    "GraphConfig",
    "GraphEncoder",
    "ImageEncoder",
    "ResNetConfig",
    "ResNetEncoder",
    "build_encoder",
    "fitting_of",
]


def build_encoder(config: EncoderConfig) -> ImageEncoder:
    """A freshly initialised encoder (from torch's global random state), on the CPU, in training mode."""
    return config.build()


def fitting_of(config: EncoderConfig) -> Fitting:
    """How pictures become what an encoder takes."""
    return config.fitting if isinstance(config, GraphConfig) else Fitting(config.image_size, config.image_size)
