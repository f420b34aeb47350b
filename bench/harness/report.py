"""What every benchmark prints and writes."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from holdfast.console import Console
from holdfast.exit_status import exit_status
from holdfast.files import write_atomically
from holdfast.model.encoder.device import Device
from holdfast.model.encoder.nvidia import read_driver

Value = str | int | float | bool | None
LIBRARIES = ("torch", "onnxruntime", "onnxruntime-gpu", "faiss-cpu", "faiss-gpu-cuvs", "grpcio")


@dataclass(frozen=True)
class Spread:
    """The median of repeated measurements, and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Quartiles of at least two values."""
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, median, high)

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Target:
    """A number that the project promises: at least or at most `bound`."""

    name: str
    value: float
    bound: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether the promise holds."""
        return bool(self.value >= self.bound if self.at_least else self.value <= self.bound)

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{self.name} {self.value:.3f}, target {sign} {self.bound}: {'met' if self.met else 'missed'}"

    def __rich__(self) -> Text:
        shown = Text(str(self))
        shown.highlight_words([": met"], "green")
        shown.highlight_words([": missed"], "red")
        return shown


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], target: Target | None = None) -> None:
    """Prints the table and, where there is a target, what it says about it."""
    console = Console()
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    console.print(title, style="bold")
    console.print(table)
    if target is not None:
        console.print(target)


def warn_if_busy(load: float, cores: int) -> None:
    """Says so where the machine had other work when the benchmark began: both halves of a ratio suffer, not alike."""
    if load > 0.25 * cores:
        message = f"the machine is busy (load {load:.1f} on {cores} cores): measure again when it is quiet"
        Console(stderr=True).print(message, style="yellow")


def run_benchmark(main: Callable[[], int]) -> int:
    """The exit status of a benchmark; 2 and one line where it cannot be measured, as without the GPU that was asked for."""
    return exit_status("bench", main)


def write_json(
    path: Path,
    bench: str,
    values: Mapping[str, object],
    *,
    target: Target | None = None,
    device: Device = "cpu",
) -> None:
    """Writes the numbers of one run, numpy's too, with the machine they were measured on; the whole file or none of it."""
    met = {}
    if target is not None:
        met = {
            "promised": target.name,
            "ratio": target.value,
            "bound": target.bound,
            "at_least": target.at_least,
            "met": target.met,
        }
    result = {"bench": bench, **met, **values, "host": host(device)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(result, indent=2, default=_plain) + "\n").encode())


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no number that JSON holds")


def host(device: Device) -> dict[str, Value]:
    """The machine, and the libraries that computed."""
    gpu: dict[str, Value] = {}
    if device == "cuda":
        gpu = {"gpu": read_driver().gpus[0]}
    installed = {each.name: each.version for each in distributions()}
    return {
        "device": device,
        **gpu,
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "python": platform.python_version(),
        **{name: installed[name] for name in LIBRARIES if name in installed},
    }
