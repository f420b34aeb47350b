"""What all objectives with a teacher share: who it is, and that it stays so."""

import copy
from collections.abc import Iterator
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import Batch, Objective


class WithTeacher(Objective):
    """An objective whose student begins as a copy of its teacher: the encoder as the stage before left it.

    The teacher is taken once, before the first step. It is kept in checkpoints, and by a second stage of the same
    objective, which goes on with it instead of taking its own student.
    """

    taken: Tensor

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.teacher = copy.deepcopy(encoder).requires_grad_(requires_grad=False)
        self.register_buffer("taken", torch.tensor(data=False))
        self._known = False

    def train(self, mode: bool = True) -> Self:
        """As any module, but the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def prepare(self, encoder: ImageEncoder, everything: Batch, step: int) -> None:  # noqa: ARG002 - the protocol's
        """Take the encoder as it is before the first step for the teacher, and let it learn what it must."""
        if self._known:
            return  # without asking `taken`, for whose answer a GPU would be waited for at every step
        if not self.taken:
            self.teacher.load_state_dict(encoder.state_dict())
            self.teacher.eval()
            self.look(everything)
            self.taken.fill_(value=True)
        self._known = True

    def look(self, everything: Batch) -> None:
        """The teacher's one look at the whole training set; most need none."""

    @torch.no_grad()
    def taught(self, pixels: Tensor) -> Tensor:
        """The teacher's embeddings of float [N, 3, H, W] pixels: float32 [N, D] of unit length."""
        return F.normalize(self.teacher(pixels).float(), dim=1)

    def taught_all(self, everything: Batch) -> Tensor:
        """Of all images: float32 [M, D]."""
        return torch.cat(list(self._parts(everything)))

    def _parts(self, everything: Batch) -> Iterator[Tensor]:
        for part in everything.parts(512):
            yield self.taught(part.pixels())
