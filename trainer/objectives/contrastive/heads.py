"""AMDIM's heads: they bring the local maps to the length of the global vector. Used in training, not exported."""

import torch
from torch import Tensor, nn

from holdfast.errors import HoldfastError
from holdfast.trainer.encoders import ImageEncoder


class LocalHead(nn.Module):
    """1x1 -> BN -> ReLU -> 1x1 (from zero), plus a 1x1 shortcut (from near the identity), then BN.

    [N, n_in, h, w] -> [N, n_out, h, w].
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        last = nn.Conv2d(n_out, n_out, 1, bias=False)
        nn.init.zeros_(last.weight)
        hidden = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.change = nn.Sequential(hidden, nn.BatchNorm2d(n_out), nn.ReLU(), last)
        self.shortcut = nn.Conv2d(n_in, n_out, 1, bias=False)
        nn.init.uniform_(self.shortcut.weight, -0.01, 0.01)
        with torch.no_grad():
            self.shortcut.weight[:, :, 0, 0].fill_diagonal_(1)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, maps: Tensor) -> Tensor:
        """Map every location alike."""
        mapped: Tensor = self.norm(self.change(maps) + self.shortcut(maps))
        return mapped


class Heads(nn.Module):
    """The heads of one encoder: its features {1, 5, 7} -> maps {1, 5, 7} that all have `encoder.dim` channels."""

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        if not {5, 7} <= encoder.widths.keys():
            raise HoldfastError(
                "AMDIM and SSAT relate maps within the encoder, and of a graph nobody knows which values are maps: take"
                " FARE, DeACL, TRADES, or SSAT's arm `taught`, which relates embeddings alone"
            )
        self.head5 = LocalHead(encoder.widths[5], encoder.dim)
        self.head7 = LocalHead(encoder.widths[7], encoder.dim)

    def forward(self, features: dict[int, Tensor]) -> dict[int, Tensor]:
        """Leave the global vector as it is, map the two others."""
        return {1: features[1], 5: self.head5(features[5]), 7: self.head7(features[7])}
