"""The base of objectives with a teacher: which encoder it is, and that it does not change."""

import copy
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives.base import Objective, TrainingSet


class TeacherObjective(Objective):
    """An objective whose student begins as a copy of its teacher: the encoder as the stage before left it.

    The teacher is copied once, before the first step. It is kept in checkpoints, and by a second stage of the same
    objective, which keeps this teacher instead of copying its own student.
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

    def prepare(self, encoder: ImageEncoder, train_set: TrainingSet, step: int) -> None:  # noqa: ARG002 - the protocol's
        """Before the first step, copy the encoder to the teacher and fit what depends on it."""
        if self._known:
            return  # without reading `taken`, which would wait for a GPU at every step
        if not self.taken:
            self.teacher.load_state_dict(encoder.state_dict())
            self.teacher.eval()
            self.fit(train_set)
            self.taken.fill_(value=True)
        self._known = True

    def retake(self) -> None:
        """Take the encoder as it will be at the next `prepare` for the teacher, whatever was the teacher before."""
        self.taken.fill_(value=False)
        self._known = False

    def fit(self, train_set: TrainingSet) -> None:
        """Fit what depends on the teacher and the whole training set; most objectives have no such part."""

    @torch.no_grad()
    def targets(self, pixels: Tensor) -> Tensor:
        """The teacher's embeddings of float [N, 3, H, W] pixels: float32 [N, D] of unit length."""
        return F.normalize(self.teacher(pixels).float(), dim=1)

    def all_targets(self, train_set: TrainingSet) -> Tensor:
        """The teacher's embeddings of all M images: float32 [M, D] of unit length."""
        return torch.cat([self.targets(chunk.pixels()) for chunk in train_set.chunks()])
