"""Where torch computes, by the name that a command line gives."""

from typing import Literal

import torch

from holdfast.errors import HoldfastError


def device_named(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device that is asked for by `name`; auto takes a GPU if there is one.

    Raises:
        HoldfastError: a GPU was asked for and there is none.

    """
    if name == "cuda" and not torch.cuda.is_available():
        raise HoldfastError("--device cuda was asked for, but torch sees no GPU here")
    wanted = "cuda" if name == "auto" and torch.cuda.is_available() else name
    return torch.device("cpu" if wanted == "auto" else wanted)
