"""A trained network with its classifier: what it answers, how sure it is, and what its embeddings are."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from holdfast.model.answers import Floats, Ints
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.encoders.recorded import recorded_encoder
from holdfast.trainer.state import checkpoint
from holdfast.trainer.state.checkpoint import FILE

AT_ONCE = 512


@dataclass(frozen=True)
class TrainedNetwork:
    """An encoder and what its training put on it.

    Attributes:
        encoder: in evaluation mode, frozen.
        weight: float32 [C, D], of the classifier; with an abstain logit [C + 1, D], that one last.
        bias: float32 [C] or [C + 1].
        classes: C.
        temperature: of a cosine classifier, whose weights are prototypes; None of a linear one.

    """

    encoder: ImageEncoder
    weight: Tensor
    bias: Tensor
    classes: int
    temperature: float | None = None

    def logits(self, pixels: Tensor) -> Tensor:
        """Of float [N, 3, H, W] pixels: float32 [N, C] or [N, C + 1]."""
        return self.judge(self.encoder(pixels).float())

    def judge(self, embeddings: Tensor) -> Tensor:
        """The logits of float32 [N, D] embeddings, as the encoder returns them."""
        if self.temperature is None:
            return F.linear(embeddings, self.weight, self.bias)
        return F.normalize(embeddings, dim=1) @ F.normalize(self.weight, dim=1).T / self.temperature

    @torch.inference_mode()
    def look(self, images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Embeddings float32 [N, D] of unit length, and logits float32 [N, C] or [N, C + 1], of uint8 [N, H, W, 3] images."""
        found = [self.encoder(pixels).float() for pixels in batches(images)]
        parts = [(F.normalize(each, dim=1).numpy(), self.judge(each).numpy()) for each in found]
        return np.concatenate([each for each, _ in parts]), np.concatenate([each for _, each in parts])

    def answers(self, logits: Floats) -> Ints:
        """The likeliest of the C classes: int64 [N]."""
        answered: Ints = logits[:, : self.classes].argmax(1).astype(np.int64)
        return answered


def batches(images: NDArray[np.uint8]) -> Iterator[Tensor]:
    """Float [n, 3, H, W] pixels in [0, 1] of uint8 [N, H, W, 3] images, in order."""
    for start in range(0, len(images), AT_ONCE):
        yield torch.from_numpy(np.ascontiguousarray(images[start : start + AT_ONCE])).permute(0, 3, 1, 2).float() / 255


def network_of(config: TrainConfig, classes: int, file: Path = FILE) -> TrainedNetwork:
    """What a run's checkpoint or snapshot holds.

    Raises:
        CheckpointError: it is not there.

    """
    found = checkpoint.load(config.out, file)
    encoder = recorded_encoder(found.config["encoder"], found.part("encoder."), config.out)
    parts = found.part("objective.")
    if "prototypes" in parts:
        temperature = found.config["stages"][found.position.stage]["objective"]["temperature"]
        return TrainedNetwork(encoder, parts["prototypes"], torch.zeros(classes), classes, temperature)
    weight, bias = parts["classifier.weight"], parts["classifier.bias"]
    if "abstainer.weight" in parts:
        weight, bias = torch.cat([weight, parts["abstainer.weight"]]), torch.cat([bias, parts["abstainer.bias"]])
    return TrainedNetwork(encoder, weight, bias, classes)
