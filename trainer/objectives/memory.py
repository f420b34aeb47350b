"""What an objective remembers of each training image."""

import torch
from torch import Tensor, nn


class SharedBuffers(nn.Module):
    """A module whose buffers threads that share a batch share, whereas they copy and average those of others."""


class ImageMemory(SharedBuffers):
    """A row of numbers for each training image: targets that adapt, embeddings of an earlier epoch. Part of checkpoints.

    Threads that share a batch share the memory itself, whereas they average the other buffers (`loop/data_parallel.py`): a
    shard writes the rows of its own images, and no image is in two shards. So a row is written once a step, and is what one
    thread would have written.

    Args:
        shape: of a row.
        dtype: of its numbers; float16 halves a large memory.

    """

    values: Tensor
    """`dtype` [M, *shape]; zeros at first. Rows are found by `ImageBatch.rows`."""

    def __init__(self, *shape: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(0, *shape, dtype=dtype))

    def allocate(self, images: int) -> None:
        """Make room for so many images, all zeros."""
        self.values = self.values.new_zeros(images, *self.values.shape[1:])

    def at(self, rows: Tensor) -> Tensor:
        """A copy of the rows, [N, *shape]; in float32 where the memory is of a smaller float."""
        found = self.values[rows]
        return found.float() if found.is_floating_point() else found

    @torch.no_grad()
    def write(self, rows: Tensor, values: Tensor) -> None:
        """Set the rows, int64 [N] without a repetition, to values [N, *shape]."""
        self.values[rows] = values.detach().to(self.values.dtype)
