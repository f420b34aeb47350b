"""Which images each stage of a run learns from: all of the labelled set, or a chunk of a stream and what is seen again.

Chunks are numbered in the order in which they came: first those that `TrainConfig.stream` cuts the labelled set into, or that
set whole where there is no stream; then what came in without labels, one chunk for each time that the run was continued.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from holdfast.data import LabelledImages
from holdfast.data.streams import Arrivals, chunks_of, in_styles, replayed
from holdfast.errors import HoldfastError
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.objectives import ImageBatch

NO_LABEL = -1
"""The label of images that came in without one; only label-free objectives are given such."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class StageRows:
    """The rows of the training set that a stage draws from.

    Attributes:
        fresh: of its chunk, or of the labelled set; int64 [n], ascending.
        replayed: of earlier chunks, kept to be seen again; int64 [m], ascending.
        before: of what the stage before learned from; int64, empty for the first.

    """

    fresh: Rows
    replayed: Rows
    before: Rows

    @property
    def seen(self) -> Rows:
        """Fresh and replayed ones."""
        return np.concatenate([self.fresh, self.replayed])


def stage_rows(config: TrainConfig, images: LabelledImages, arrivals: Arrivals | None, shares: Sequence[float]) -> list[StageRows]:
    """What each stage draws from.

    Args:
        config: the run.
        images: the labelled training set.
        arrivals: what came in; its rows follow those of `images`.
        shares: of the images of earlier chunks, what each stage sees again.

    Raises:
        DataError: the set cannot be cut as the stream says, or a chunk has fewer than two images.
        HoldfastError: a stage names a chunk that there is not.

    """
    whole = np.arange(len(images))
    of_stream = chunks_of(images, config.stream) if config.stream else (whole,)
    chunks = (*of_stream, *(arrivals.chunks(len(images)) if arrivals else ()))
    found: list[StageRows] = []
    seen: dict[int, Rows] = {}
    for stage, share in zip(config.stages, shares, strict=True):
        if stage.chunk is not None and stage.chunk >= len(chunks):
            raise HoldfastError(f"stage {stage.name!r} asks for chunk {stage.chunk}; there are {len(chunks)}, numbered from 0")
        own = {number: chunks[number] for number in ([stage.chunk] if stage.chunk is not None else range(len(of_stream)))}
        earlier = [rows for number, rows in sorted(seen.items()) if number not in own]
        before = found[-1].fresh if found else whole[:0]
        fresh = whole if stage.chunk is None else own[stage.chunk]
        found.append(StageRows(fresh, replayed(earlier, share, config.seed), before))
        seen |= own
    return found


def training_set(
    config: TrainConfig, images: LabelledImages, arrivals: Arrivals | None, device: torch.device
) -> ImageBatch:
    """All images that a run learns from as tensors on its device: the labelled ones as its stream shows them, then arrivals."""
    shown = in_styles(images, config.stream) if config.stream else images
    pixels, labels = shown.images, shown.labels
    if arrivals is not None:
        pixels = np.concatenate([pixels, arrivals.images])
        labels = np.concatenate([labels, np.full(len(arrivals.images), NO_LABEL)])
    return ImageBatch.whole(torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device))


def interleaved(fresh: Tensor, again: Tensor) -> Tensor:
    """One batch of both, int64 [n + m], the second evenly among the first: each shard of the batch has its part of them."""
    if not len(again):
        return fresh
    total = len(fresh) + len(again)
    is_again = torch.zeros(total, dtype=torch.bool, device=fresh.device)
    # In the middle of each m-th of the batch.
    is_again[(2 * torch.arange(len(again), device=fresh.device) + 1) * total // (2 * len(again))] = True
    rows = torch.empty(total, dtype=fresh.dtype, device=fresh.device)
    rows[is_again], rows[~is_again] = again, fresh
    return rows
