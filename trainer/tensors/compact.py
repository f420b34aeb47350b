"""A run's state in fewer bytes: weights as float16, the optimiser's memory as float8 or bfloat16.

A run that goes on from such a state is the run that was not interrupted but for the rounding: half a unit in the eleventh
bit of a weight, and in the fourth of a momentum, which a dozen steps forget. Squares of gradients keep bfloat16's range, as
Adam divides by their roots. Small tensors and vectors, BatchNorm's among them, stay as they are: there is nothing to gain.
"""

import torch
from torch import Tensor

SCALE = "@scale"
LARGEST = torch.finfo(torch.float8_e4m3fn).max
# Tensors of fewer numbers stay float32.
SMALL = 1024
SQUARES = {"exp_avg_sq", "max_exp_avg_sq"}


def compacted(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state by name, rounded; those of the optimiser are called "optimiser.<...>".

    A momentum becomes float8_e4m3 and the float32 scale of each of its rows, called as it is and "@scale". Weights that
    float16 cannot hold stay float32.
    """
    found = {}
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tensor.dim() < 2 or tensor.numel() < SMALL:
            found[name] = tensor
        elif not name.startswith("optimiser."):
            half = tensor.half()
            found[name] = half if half.isfinite().all() else tensor
        elif name.rpartition(".")[2] in SQUARES:
            found[name] = tensor.bfloat16()
        else:
            found[name], found[name + SCALE] = _float8(tensor)
    return found


def restored(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `compacted`, but for the rounding: float32 again. What has not been compacted is left as it is."""
    found = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            continue
        if tensor.dtype == torch.float8_e4m3fn:
            found[name] = tensor.float() * _per_row(tensors[name + SCALE], tensor)
        else:
            found[name] = tensor.float() if tensor.dtype in {torch.float16, torch.bfloat16} else tensor
    return found


def _float8(tensor: Tensor) -> tuple[Tensor, Tensor]:
    largest = tensor.flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest / LARGEST, 1.0)
    return (tensor / _per_row(scale, tensor)).to(torch.float8_e4m3fn), scale


def _per_row(scale: Tensor, tensor: Tensor) -> Tensor:
    return scale.reshape(-1, *(1,) * (tensor.dim() - 1))
