"""Which images each stage of a run learns from: all of the labelled set, or a chunk of a stream and what is seen again.

Chunks are numbered in the order in which they came: first those that `TrainConfig.stream` cuts the labelled set into, then what
came in without labels, one chunk for each time that the run was continued.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.data import LabelledImages
from holdfast.data.labelled import UNKNOWN
from holdfast.data.streaming.training import ImagePart
from holdfast.data.streams import chunks_of, in_styles, replayed
from holdfast.data.streams.arrivals import Arrivals, load_arrivals
from holdfast.errors import HoldfastError
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.loop.streamed_set import whole_set
from holdfast.trainer.objectives import ImageBatch, SequentialConfig, TrainingSet

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class StageRows:
    """The rows of the training set that a stage draws from.

    Attributes:
        fresh: of its chunk, or of the labelled set; int64 [n], ascending.
        replayed: of earlier chunks, kept to be seen again; int64 [m], ascending.
        before: of what the stage before learned anew; int64, empty for the first.

    """

    fresh: Rows
    replayed: Rows
    before: Rows


def arrivals_of(config: TrainConfig) -> Arrivals | None:
    """What came in without labels, as the run keeps it in its folder; None where it learns from the labelled set alone.

    Raises:
        HoldfastError: it is not there, damaged, or not what the run began with.

    """
    if not config.arrived:
        return None
    found = load_arrivals(config.out)
    if found is None or found.sha256() != config.arrived:
        raise HoldfastError(
            f"{config.out} does not hold the images that came in and that this run learns from: continue its parent again, by"
            " --continue-with, into another --out"
        )
    return found


def stage_rows(config: TrainConfig, images: ImagePart, arrivals: Arrivals | None, shares: Sequence[float]) -> list[StageRows]:
    """What each stage draws from.

    Args:
        config: the run.
        images: the labelled training set.
        arrivals: what came in; its rows follow those of `images`.
        shares: of the images of earlier chunks, what each stage sees again.

    Raises:
        DataError: the set cannot be cut as the stream says, or a chunk has fewer than two images.
        HoldfastError: a stage names a chunk that there is not, or one with too few images for the threads.

    """
    whole = np.arange(len(images))
    of_labelled = chunks_of(images, config.stream)
    chunks = (*of_labelled, *(arrivals.chunks(len(images)) if arrivals else ()))
    found: list[StageRows] = []
    seen: set[int] = set()
    for stage, share in zip(config.stages, shares, strict=True):
        if stage.chunk is not None and stage.chunk >= len(chunks):
            raise HoldfastError(f"stage {stage.name!r} asks for chunk {stage.chunk}; there are {len(chunks)}, numbered from 0")
        if stage.chunk is not None and stage.chunk >= len(of_labelled) and not isinstance(stage.objective, SequentialConfig):
            raise HoldfastError(
                f"chunk {stage.chunk} has no labels: stage {stage.name!r} can learn from it by a SequentialConfig"
            )
        own = range(len(of_labelled)) if stage.chunk is None else (stage.chunk,)
        fresh = whole if stage.chunk is None else chunks[stage.chunk]
        if stage.chunk is not None and len(fresh) < 2 * config.threads:
            raise HoldfastError(
                f"chunk {stage.chunk} of {len(fresh)} images is too small for {config.threads} threads: choose fewer --threads"
            )
        earlier = [chunks[number] for number in sorted(seen.difference(own))]
        found.append(StageRows(fresh, replayed(earlier, share, config.seed), found[-1].fresh if found else whole[:0]))
        seen.update(own)
    return found


def training_set(config: TrainConfig, images: ImagePart, arrivals: Arrivals | None, device: torch.device) -> TrainingSet:
    """All images that a run learns from as tensors on its device: the labelled ones as its stream shows them, then arrivals.

    As uint8, so 50,000 CIFAR images are 150 MB. Images that are not in memory are read when they are asked for.

    Raises:
        HoldfastError: images that are not in memory would have to be shown in styles, or beside arrivals.

    """
    if not isinstance(images, LabelledImages):
        if arrivals is not None or config.stream.order == "domain":
            raise HoldfastError(
                "--continue-with and the order domain need the whole set in memory: name a bound above its size by --memory"
            )
        return whole_set(images, device)
    shown = in_styles(images, config.stream)
    pixels, labels = shown.images, shown.labels
    if arrivals is not None:
        pixels = np.concatenate([pixels, arrivals.images])
        labels = np.concatenate([labels, np.full(len(arrivals), UNKNOWN)])
    return ImageBatch.whole(torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device))


def learned_from(train_set: TrainingSet, rows: StageRows) -> TrainingSet:
    """The images of a stage: the fresh ones first, those seen again last. Not copied where that is the whole set."""
    both = np.concatenate([rows.fresh, rows.replayed])
    if np.array_equal(both, np.arange(len(train_set))):
        return train_set
    return train_set.select(torch.from_numpy(both).to(train_set.order_device))
