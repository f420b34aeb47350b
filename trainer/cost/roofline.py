"""What a device can do at best, measured on it in a second, so that a training can be compared with it without a data sheet."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from holdfast.trainer.cost.counting import OperationCount

MEASURE_S = 0.25
"""Seconds that each of the two measurements takes, at least."""


@dataclass(frozen=True, slots=True)
class Roofline:
    """Per second: operations of a large matrix product, and bytes read and written by a large copy."""

    operations: float
    bytes: float

    def lower_bounds(self, count: OperationCount) -> tuple[float, float]:
        """Seconds that `count` takes at least, by its operations and by its bytes."""
        return count.operations / self.operations, count.bytes / self.bytes

    def __str__(self) -> str:
        return f"{self.operations / 1e12:.3g} TFLOP/s, {self.bytes / 1e9:.3g} GB/s"


def measure_roofline(device: torch.device, dtype: torch.dtype, threads: int) -> Roofline:
    """Measure both, the best of several runs.

    Args:
        device: where to measure.
        dtype: of the matrices.
        threads: CPU threads that share the operations; torch's number of threads is left as it was.

    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        side, size = (1024, 2**26) if device.type == "cpu" else (8192, 2**30)
        one, other = (torch.ones(side, side, dtype=dtype, device=device) for _ in range(2))
        product = torch.empty_like(one)
        source = torch.ones(size, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        operations = 2 * side**3 / _best(lambda: torch.mm(one, other, out=product), device)
        return Roofline(operations, 2 * size / _best(lambda: target.copy_(source), device))
    finally:
        torch.set_num_threads(before)


def _best(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of several runs, the first few left out."""
    run()
    best, ended = float("inf"), time.perf_counter() + MEASURE_S
    while time.perf_counter() < ended:
        best = min(best, seconds_of(run, device, times=4))
    return best


def seconds_of(run: Callable[[], object], device: torch.device, *, times: int) -> float:
    """Seconds that one of `times` runs in a row takes, until the device has finished them."""
    _synchronise(device)
    begun = time.perf_counter()
    for _ in range(times):
        run()
    _synchronise(device)
    return (time.perf_counter() - begun) / times


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
