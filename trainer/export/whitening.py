"""Whitening of the embedding, in part: after the training, a linear map evens out how far its directions spread.

With m and C = U diag(v) U' mean and covariance of the training set's embeddings z of unit length,

    z -> normalise((z - m) W),        W = U diag((v + e)^-p) U'

A classifier's embedding spreads along as many directions as there are classes, and all others hardly count in a
cosine. At p = 1/2 every direction counts alike, also those that are noise; in between lies what helps a kNN, clean and under
attack (docs/tried.md). Whitening for nearest neighbours: Jegou and Chum 2012 (doi 10.1007/978-3-642-33709-3_55).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from holdfast.errors import HoldfastError
from holdfast.files import replace_atomically
from holdfast.trainer.encoders import ImageEncoder
from holdfast.trainer.objectives import TrainingSet

FILE = Path("checkpoint") / "whitening.safetensors"

# Directions that hold less of the variance than this share of the largest are taken for noise.
FLOOR = 1e-3


class Whitened(nn.Module):
    """An encoder and the map behind it: float [N, 3, H, W] in [0, 1] -> [N, dim], not yet of unit length.

    The map is applied to the embedding of unit length, so the length of the encoder's output does not matter here either.
    """

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, encoder.dim
        self.map = nn.Linear(encoder.dim, encoder.dim).requires_grad_(requires_grad=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed, and apply the map."""
        embeddings = self.encoder(pixels)
        # As F.normalize, but without a branch to be traced; see `ServedEncoder`.
        mapped: Tensor = self.map(embeddings * torch.rsqrt(embeddings.square().sum(dim=1, keepdim=True) + 1e-24))
        return mapped


def whiten(encoder: ImageEncoder, train_set: TrainingSet, power: float) -> Whitened:
    """Fit the map to the training set.

    Args:
        encoder: in evaluation mode.
        train_set: the training images, where the encoder is.
        power: p, between 0 (nothing changes but the mean) and .5 (all directions alike).

    """
    with torch.no_grad():
        chunks = [F.normalize(encoder(chunk.pixels()).float(), dim=1) for chunk in train_set.chunks()]
    matrix, mean = whitening_of(torch.cat(chunks), power)
    whitened = Whitened(encoder).to(mean.device).eval()
    with torch.no_grad():
        whitened.map.weight.copy_(matrix)
        whitened.map.bias.copy_(-mean @ matrix)
    return whitened


def whitening_of(embeddings: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """The symmetric matrix W, float32 [D, D], and the mean, float32 [D], of embeddings [M, D]."""
    exact = embeddings.double()
    mean = exact.mean(0)
    values, directions = torch.linalg.eigh(torch.cov((exact - mean).T))
    spread = (values.clamp_min(0) + FLOOR * values.max()) ** -power
    return (directions * spread @ directions.T).float(), mean.float()


def save(whitened: nn.Module, directory: Path) -> None:
    """Put the map beside the checkpoint in `directory`; for an encoder without one, see that none lies there."""
    path = directory / FILE
    if not isinstance(whitened, Whitened):
        path.unlink(missing_ok=True)
        return
    with replace_atomically(path) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in whitened.map.state_dict().items()}, temporary)


def load(encoder: ImageEncoder, directory: Path) -> nn.Module:
    """The encoder with the map that lies beside its checkpoint; without one, the encoder itself.

    Raises:
        HoldfastError: the map is damaged, or of another encoder.

    """
    path = directory / FILE
    if not path.is_file():
        return encoder
    whitened = Whitened(encoder).eval()
    try:
        whitened.map.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise HoldfastError(f"{path} is damaged or of another encoder: {error}; finish the run again with --resume") from error
    return whitened
