"""The networks of a run: its encoder, and what the objective of every stage learns besides."""

import torch
from torch import nn

from holdfast.data import LabelledImages
from holdfast.data.labelled import UNKNOWN
from holdfast.data.streaming.training import ImagePart
from holdfast.errors import HoldfastError
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import GraphEncoder, ImageEncoder, build_encoder
from holdfast.trainer.objectives import Objective, build_objective


def build_networks(
    config: TrainConfig, images: ImagePart, device: torch.device, unlabelled: int = 0
) -> tuple[ImageEncoder, list[Objective]]:
    """The encoder and the objective of every stage, initialised by the seed alone.

    Args:
        config: the run.
        images: the labelled set, with what it has of images without labels.
        device: where the networks are to be.
        unlabelled: images that came in and follow these; no objective that reads labels is shown any of them.

    Raises:
        HoldfastError: an objective reads labels that are not known.

    """
    torch.manual_seed(config.seed)
    encoder = build_encoder(config.encoder)
    if isinstance(encoder, GraphEncoder):
        pass  # its preprocessing is that of the graph
    elif isinstance(images, LabelledImages):
        encoder.normalise.fit(torch.from_numpy(images.images))
    else:
        encoder.normalise.fit_counts(torch.from_numpy(images.counts))
    objectives = [build_objective(stage.objective, encoder, len(images.class_names)) for stage in config.stages]
    for stage, objective in zip(config.stages, objectives, strict=True):
        objective.size(len(images) + unlabelled, stage.steps)
        refuse_unknown(stage, objective, int((images.labels != UNKNOWN).sum()), len(images))
    for module in (encoder, *objectives):
        module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent in its stubs
        if config.compile:
            compile_encoders(module)
    return encoder, objectives


def refuse_unknown(stage: Stage, objective: Objective, known: int, images: int) -> None:
    """Refuse a stage that reads labels which are not known.

    Args:
        stage: whose objective it is.
        objective: says which labels it reads.
        known: images whose label is known.
        images: of the training set.

    Raises:
        HoldfastError: not all labels are known, and it reads all; or none is, and it reads some.

    """
    if (objective.labels == "all" and known < images) or (objective.labels == "some" and not known):
        raise HoldfastError(
            f"stage {stage.name!r} reads labels, and only {known:,} of {images:,} training images have one: leave the rest out,"
            " or take an objective that learns from images without a label (ugan, trades after it, or one that reads none)"
        )


def compile_encoders(module: nn.Module) -> None:
    """Compile each encoder in `module`, a teacher for instance, in place: names stay, and copies are not compiled.

    Each size of batch has kernels of its own: there are few, and kernels for any size are slower.
    """
    for inner in module.modules():
        if isinstance(inner, ImageEncoder):
            inner.compile(dynamic=False)
