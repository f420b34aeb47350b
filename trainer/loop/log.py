"""log.csv, a line every few steps, and the progress bar."""

import csv
import time
from pathlib import Path
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TimeRemainingColumn

from holdfast.bundle.reader import TRAINING_LOG
from holdfast.console import Console, Progress, TextColumn

FIXED = ("stage", "step", "seconds", "learning_rate", "loss", "gradient_norm")


class Log:
    """Writes what was measured; a resumed run drops the lines of steps that it is going to take again."""

    def __init__(
        self, directory: Path, names: tuple[str, ...], *, seconds: float, console: Console | None, writes: bool = True
    ) -> None:
        self._writes = writes
        self._path = directory / TRAINING_LOG
        self._header = (*FIXED, *names)
        self._begun = time.perf_counter() - seconds
        columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(
            *columns, TextColumn("{task.fields[loss]}"), console=console, disable=console is None or console.quiet
        )
        self._task: TaskID | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training, those before an interruption included."""
        return time.perf_counter() - self._begun

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, done: dict[str, int]) -> None:
        """Start the file anew, but for the lines of the stages in `done`, up to and including the step given there."""
        if not self._writes:
            return
        kept = []
        if done and self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= done.get(row["stage"], -1)]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._header, extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(kept)

    def stage(self, name: str, steps: int, done: int) -> None:
        """Show a bar for a stage, `done` steps of which have been taken."""
        self._task = self._progress.add_task(name, total=steps, completed=done, loss="")

    def advance(self, step: int, loss: float) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=step, loss=f"loss {loss:.3f}")

    def write(self, stage: str, step: int, values: dict[str, float]) -> None:
        """Append a line: values by column name, those absent left empty."""
        if not self._writes:
            return
        row = {"stage": stage, "step": step, "seconds": f"{self.seconds:.2f}"}
        row |= {name: f"{value:.6g}" for name, value in values.items()}
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._header, restval="").writerow(row)
