"""What came of it, to read: a table, a page of Markdown, a picture."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.gpu.picture import draw
from bench.gpu.results import StepResult
from bench.gpu.steps import Step
from bench.harness.report import Target
from holdfast.files import replace_atomically, write_atomically

StepResults = Iterable[tuple[Step, StepResult | None]]

SAID_ABOVE = {"bench", "promised", "bound", "at_least", "met", "host"}
"""What a benchmark writes for a program, and the page says in its table of promises and its first line."""


def table(found: StepResults) -> Table:
    """Every step, how long it took, and whether it kept what it promised."""
    shown = Table("step", "seconds", "promises", caption="A step's numbers are in results/STEP.json.")
    for step, result in found:
        if result is None:
            shown.add_row(Text.assemble(step.name, "\n", (step.typed, "dim")), "", "not begun")
            continue
        promises = Group(*result.targets) if result.targets else "none"
        shown.add_row(step.name, f"{result.seconds:,.0f}", promises if result.state == "done" else result.state)
    return shown


def write_page(out: Path, found: StepResults) -> None:
    """Write gpu.md and gpu.png into `out`, of steps that are all done."""
    done = [(step, result) for step, result in found if result is not None]
    numbers = {step.name: result.numbers for step, result in done}
    with replace_atomically(out / "gpu.png") as temporary:
        draw(temporary, numbers)
    write_atomically(out / "gpu.md", markdown(done).encode())


def markdown(done: list[tuple[Step, StepResult]]) -> str:
    """The page: promises first, then the numbers of each step and the command that gives them."""
    numbers = {step.name: result.numbers for step, result in done}
    lines = ["# Measured", "", _host(numbers), "", "![What was measured](gpu.png)", ""]
    promised = [[*_cells(target), step.name] for step, result in done for target in result.targets]
    lines += _rows(["what", "measured", "target", "", "step"], promised)
    total = sum(result.seconds for step, result in done if step.name in {"train", "index", "evaluate"})
    lines += ["", f"Training, index and evaluation took {total / 60:.1f} minutes in all.", ""]
    for step, result in done:
        lines += [f"## {step.name}: {step.does}", "", f"    {step.typed}", "", f"{result.seconds:,.0f} s.", ""]
        lines += [*_section(result.numbers), ""]
    return "\n".join(lines).rstrip() + "\n"


def _host(numbers: dict[str, dict[str, Any]]) -> str:
    host: dict[str, Any] = next((each["host"] for each in numbers.values() if "host" in each), {})
    return ", ".join(f"{name} {value}" for name, value in host.items()) + "."


def _section(numbers: dict[str, Any]) -> list[str]:
    """Plain numbers as one table, each list of records as a table of its own."""
    plain = [[name, _format(value)] for name, value in numbers.items() if not _is_table(value) and name not in SAID_ABOVE]
    lines = _rows(["", ""], plain)
    for value in filter(_is_table, numbers.values()):
        lines += ["", *_rows(list(value[0]), [[_format(cell) for cell in record.values()] for record in value])]
    return lines


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _rows(header: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def _cells(target: Target) -> list[str]:
    sign = "at least" if target.at_least else "at most"
    return [target.name, f"{target.value:.3f}", f"{sign} {target.bound:g}", "met" if target.met else "**missed**"]


def _format(value: object) -> str:
    match value:
        case bool() | int() | str() | None:
            return str(value)
        case float():
            return f"{value:.4g}"
        case dict():
            return ", ".join(f"{name} {_format(each)}" for name, each in value.items())
        case list() | tuple():
            return ", ".join(map(_format, value)) or "none"
    return str(value)
