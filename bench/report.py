"""What every benchmark prints and writes."""

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

Value = str | int | float | bool | None


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
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = "[green]met[/]" if self.met else "[red]missed[/]"
        return f"{self.name} {self.value:.3f}, target {sign} {self.bound}: {verdict}"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], target: Target) -> None:
    """Prints the table and what it says about the target."""
    console = Console()
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    console.print(title, style="bold")
    console.print(table)
    console.print(str(target))


def warn_if_busy(load: float, cores: int) -> None:
    """Says so where the machine had other work when the benchmark began: both halves of a ratio suffer, not alike."""
    if load > 0.25 * cores:
        message = f"the machine is busy (load {load:.1f} on {cores} cores): measure again when it is quiet"
        Console(stderr=True).print(message, style="yellow")


def write_json(path: Path, bench: str, target: Target, values: dict[str, Value]) -> None:
    """Writes the numbers of one run with the machine they were measured on."""
    machine: dict[str, Value] = {"python": platform.python_version(), "machine": platform.machine()}
    result = {"bench": bench, "met": target.met, "bound": target.bound, "ratio": target.value, **values, "host": machine}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
