"""A finished run with labels as a teacher: its encoder, and the classifier that it was trained with."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from holdfast.errors import HoldfastError
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.encoders.recorded import recorded_encoder
from holdfast.trainer.tensors import tensor_file
from holdfast.trainer.tensors.compact import restored

CHECKPOINT = Path("checkpoint") / "latest.safetensors"


class TeacherError(HoldfastError):
    """A run that cannot be a teacher."""


class TeacherClassifier(nn.Module):
    """Class probabilities of a frozen encoder with its classifier; always in evaluation mode.

    Args:
        encoder: pixels float [N, 3, H, W] -> embeddings float [N, D].
        weights: float [C, D], a row for each class.
        bias: float [C]; None for a cosine classifier, whose rows and embeddings are of unit length.
        temperature: of the similarities of a cosine classifier.

    """

    weights: Tensor
    bias: Tensor

    def __init__(self, encoder: ImageEncoder, weights: Tensor, bias: Tensor | None, temperature: float) -> None:
        super().__init__()
        self.encoder, self.temperature, self.is_cosine = encoder, temperature, bias is None
        self.register_buffer("weights", F.normalize(weights, dim=1) if bias is None else weights)
        self.register_buffer("bias", torch.zeros(len(weights)) if bias is None else bias)

    def train(self, mode: bool = True) -> "TeacherClassifier":  # noqa: ARG002 - the protocol's
        """Stay in evaluation mode."""
        return super().train(mode=False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Probabilities float32 [N, C] of the classes, of float [N, 3, H, W] pixels in [0, 1]."""
        embeddings = self.encoder(pixels)
        with torch.autocast(pixels.device.type, enabled=False):  # see Trades
            embeddings = embeddings.float()
            if self.is_cosine:
                embeddings = F.normalize(embeddings, dim=1) / self.temperature
            return F.softmax(F.linear(embeddings, self.weights, self.bias), dim=1)


def load_classifier(directory: Path, classes: int) -> TeacherClassifier:
    """The classifier of the run in `directory`, whose last stage learned from labels.

    Raises:
        TeacherError: there is no checkpoint, it is damaged, its last stage has no classifier, or one of other classes.

    """
    path = directory / CHECKPOINT
    if not path.is_file():
        raise TeacherError(f"{directory} cannot be a teacher: {path} does not exist; train it first, by holdfast train")
    try:
        header, tensors = tensor_file.read(path)
        tensors = restored(tensors)
        part = {name.removeprefix("encoder."): t for name, t in tensors.items() if name.startswith("encoder.")}
        encoder = recorded_encoder(header["config"]["encoder"], part, directory)
        objective = header["config"]["stages"][header["position"]["stage"]]["objective"]
    except (SafetensorError, AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise TeacherError(f"{path} is damaged, or no checkpoint that this holdfast can read: {error}") from error
    weights = next((tensors[name] for name in ("objective.prototypes", "objective.classifier.weight") if name in tensors), None)
    if weights is None:
        raise TeacherError(f"{directory} cannot be a teacher: its last stage has no classifier; take a run with labels")
    if len(weights) != classes:
        raise TeacherError(f"{directory} cannot be a teacher: it tells {len(weights)} classes apart, and here are {classes}")
    bias = tensors.get("objective.classifier.bias")
    return TeacherClassifier(encoder, weights, bias, objective.get("temperature", 1.0))
