"""All rows, one after the other, and what they come to. What an earlier call has done is not done again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, TimeElapsedColumn

from demo.pipeline import complete
from holdfast.bundle.reader import read_manifest
from holdfast.console import Console, Progress, TextColumn
from holdfast.data import Splits
from holdfast.evaluation.progress import ProgressEstimate
from holdfast.files import write_atomically
from reproduce.markdown import percent
from reproduce.ssat.attacking import RowAttacks
from reproduce.ssat.claims import Row, claims_of, verdicts_of
from reproduce.ssat.curve import draw
from reproduce.ssat.results import ATTACKS, TITLES
from reproduce.ssat.results_file import write_results
from reproduce.ssat.rows import AMDIM, Run, table_rows
from reproduce.ssat.scales import TableScale
from reproduce.ssat.tables import TableResults, accuracy_table, caption, claims_table, markdown, method, sentences
from reproduce.ssat.training import is_made, train_row


@dataclass
class Pipeline:
    """All that makes the table: train, index and attack every row, and judge the claims.

    Attributes:
        scale: how large.
        out: where everything goes.
        splits: the data.
        command: as a person types it again.
        console: where progress goes.
        data_dir: where the labelled set lies, for the bundles' manifests.
        amdim: a finished run to take the AMDIM training from.

    """

    scale: TableScale
    out: Path
    splits: Splits
    command: str
    console: Console
    data_dir: Path | None = None
    amdim: Path | None = None

    def run(self) -> TableResults:
        """Every row, then what they come to: on the terminal, results.json, table.md, curve.png."""
        runs = table_rows(self.scale, self.out, self.data_dir)
        estimate = ProgressEstimate(self._minutes(runs))
        rows = {}
        for number, run in enumerate(runs, start=1):
            self.console.rule(f"{number} of {len(runs)}: {run.title} ({format_time_left(estimate)})", align="left")
            self._make(run, estimate)
            rows[run.name] = self._measure(run, estimate)
        verdicts = verdicts_of(claims_of(self.scale.checkpoints), rows, self.scale.balls)
        seconds = {run.name: read_manifest(run.directory).trained.seconds for run in runs}
        result = TableResults(self.scale, runs, rows, seconds, verdicts)
        self._print_result(result)
        return result

    def _minutes(self, runs: Sequence[Run]) -> dict[str, float]:
        """What is expected of each part."""
        scale = self.scale
        parts = {run.name: {"train": run.minutes, "index": scale.index_minutes, "attack": scale.attack_minutes} for run in runs}
        left = {f"{part} {name}": minutes for name, inner in parts.items() for part, minutes in inner.items()}
        for run in runs:
            if is_made(run, self.splits):
                left[f"train {run.name}"] = left[f"index {run.name}"] = 0.0
        if self.amdim is not None:
            left[f"train {AMDIM}"] = 0.0
        return left

    def _make(self, run: Run, estimate: ProgressEstimate) -> None:
        if is_made(run, self.splits):
            self.console.print("trained and indexed already")
            return
        trained = train_row(run, self.splits, self.console, source=self._source(run))
        estimate.finish(f"train {run.name}")
        complete(run.config, self.splits, trained, self.command, self.console)
        estimate.finish(f"index {run.name}")

    def _source(self, run: Run) -> Path | None:
        if run.name == AMDIM:
            return self.amdim
        return None if run.after is None else self.out / run.after

    def _measure(self, run: Run, estimate: ProgressEstimate) -> Row:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            attacks = RowAttacks(run, self.splits, self.scale, self.out, progress)
            was_done = attacks.done
            row = Row(
                attacks.clean(),
                tuple(attacks.attacked(attack, ball) for ball in self.scale.balls for attack in ATTACKS),
            )
        (estimate.close if was_done else estimate.finish)(f"attack {run.name}")
        self.console.print(f"clean {percent(row.clean.rate)} %", highlight=False, markup=False)
        for attacked in row.attacked:
            words = f"{TITLES[attacked.attack]}, {attacked.threat}: DSR {percent(attacked.dsr)} %"
            self.console.print(words, highlight=False, markup=False)
        return row

    def _print_result(self, result: TableResults) -> None:
        self.console.rule("result", align="left")
        for ball in self.scale.balls:
            self.console.print(accuracy_table(result, ball))
        self.console.print(caption(result), style="italic", markup=False, highlight=False)
        self.console.print(claims_table(result))
        self.console.print(method(), style="italic", markup=False, highlight=False)
        for sentence in sentences(result):
            self.console.print(sentence, highlight=False, markup=False)
        draw(self.out / "curve.png", result)
        write_atomically(self.out / "table.md", markdown(result).encode())
        write_results(self.out / "results.json", result, self.command, self.splits.sha256)
        names = " ".join(str(self.out / name) for name in ("curve.png", "table.md", "results.json"))
        self.console.print(f"written: {names}", highlight=False, markup=False, soft_wrap=True)


def format_time_left(estimate: ProgressEstimate) -> str:
    """As in "about 80 minutes left": what is expected of what is left, at the pace so far."""
    expected = 60 * sum(estimate.left.values())
    measured = estimate.seconds_left
    minutes = (expected if measured is None else measured) / 60
    return "less than a minute left" if minutes < 1 else f"about {minutes:.0f} minutes left"
