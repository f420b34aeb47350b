"""Guests in this process: libraries that may not be there, and that draw from global random numbers."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from bundle.errors import HoldfastError

NORMS = {"linf": "Linf", "l2": "L2"}
"""What pyautoattack calls them."""


def load(module: str) -> Any:
    """A module of a library from the `eval` extra.

    Raises:
        HoldfastError: it is not installed.

    """
    try:
        with warnings.catch_warnings():
            # Which names of its own dependencies a library imports is nothing that we could mend.
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise HoldfastError(
            f"{module.partition('.')[0]} cannot be used without {error.name}, which is not installed: third-party attacks"
            " come with pip install 'holdfast[eval]'; leave these steps out to attack without them"
        ) from error


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Let the global random numbers of torch (on the CPU) and numpy follow from `generator`; put them back afterwards."""
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device))
    of_torch, of_numpy = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - what the libraries draw from
    try:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        yield
    finally:
        torch.set_rng_state(of_torch)
        np.random.set_state(of_numpy)  # noqa: NPY002
