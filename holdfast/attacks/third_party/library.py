"""Other people's libraries: they may not be installed, and they draw from global random numbers."""

import importlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from holdfast.errors import HoldfastError, install_command

NORMS = {"linf": "Linf", "l2": "L2"}
"""What pyautoattack calls them."""

_one_at_a_time = threading.Lock()


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
            f" come with {install_command('eval')}; leave these attacks out to go without them"
        ) from error


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Let the global random numbers of torch (on the CPU) and numpy follow from `generator`; put them back afterwards.

    One thread at a time: others wait until it has done.
    """
    seed = seed_from(generator)
    with _one_at_a_time, undisturbed():
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - what the libraries draw from
        yield


def seed_from(generator: torch.Generator) -> int:
    """A seed that every library takes."""
    return int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device))


class _Undisturbed:
    """The global random numbers as the first of the threads found them, put back when the last one leaves."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """For a library that draws from them although nothing of it counts."""
        with self._lock:
            if self._inside == 0:
                self._torch, self._numpy = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    torch.set_rng_state(self._torch)
                    np.random.set_state(self._numpy)  # noqa: NPY002


undisturbed = _Undisturbed()
