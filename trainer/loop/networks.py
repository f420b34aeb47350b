"""The networks of a run: its encoder, and what the objective of every stage learns besides."""

import torch
from torch import nn

from holdfast.data import LabelledImages
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.encoders import ImageEncoder, build_encoder
from holdfast.trainer.objectives import Objective, build_objective


def build_networks(
    config: TrainConfig, images: LabelledImages, device: torch.device, unlabelled: int = 0
) -> tuple[ImageEncoder, list[Objective]]:
    """The encoder and the objective of every stage, initialised by the seed alone. `unlabelled` images follow the others."""
    torch.manual_seed(config.seed)
    encoder = build_encoder(config.encoder)
    encoder.normalise.fit(torch.from_numpy(images.images))
    objectives = [build_objective(stage.objective, encoder, len(images.class_names)) for stage in config.stages]
    for stage, objective in zip(config.stages, objectives, strict=True):
        objective.size(len(images) + unlabelled, stage.steps)
    for module in (encoder, *objectives):
        module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent in its stubs
        if config.compile:
            compile_encoders(module)
    return encoder, objectives


def compile_encoders(module: nn.Module) -> None:
    """Compile each encoder in `module`, a teacher for instance, in place: names stay, and copies are not compiled.

    Each size of batch has kernels of its own: there are few, and kernels for any size are slower.
    """
    for inner in module.modules():
        if isinstance(inner, ImageEncoder):
            inner.compile(dynamic=False)
