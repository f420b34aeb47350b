"""From the command line to tables, verdicts and pictures, of what is trained so far."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from holdfast.data import Splits, load
from reproduce.arms import check_deadline, train_arm
from reproduce.command import Invocation, run_reproduction
from reproduce.kept_results import Figures, KeptResults
from reproduce.showing import show_results
from reproduce.ugan.findings import findings_of, untried
from reproduce.ugan.measuring import TrainedPlayers, figures_of
from reproduce.ugan.picture import draw_curve, draw_sheet
from reproduce.ugan.scales import SCALES, FewLabelsScale
from reproduce.ugan.tables import tables
from reproduce.ugan.trainings import FewLabelsRun, runs_of, training_of

ABOUT = (
    "Train a classifier from few labels in four ways (arXiv 1910.08540): on labelled images alone, beside a good generator,"
    " beside a bad one, beside both; see what its embedding is worth to the served vote, without and with guessed labels, and"
    " whether generated images are told from the set. Each claim is judged on the same test images. What is trained is shown at"
    " the end of each call, whether all is or not."
)
SHOWN = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_reproduction("ugan", ABOUT, SCALES, run, arguments)


def run(call: Invocation[FewLabelsScale]) -> None:
    """Train and measure what is left, then show all that there is.

    Raises:
        TimeUpError: the minutes are over.

    """
    reproduction = Reproduction(call)
    try:
        reproduction.measure()
    finally:
        reproduction.show()


@dataclass
class Reproduction:
    """One call, and the figures that it and earlier ones have measured."""

    call: Invocation[FewLabelsScale]

    def __post_init__(self) -> None:
        scale = self.call.scale
        self.splits = lru_cache(maxsize=1)(self._splits)
        identity = {"scale": repr(replace(scale, about="", seeds=(), curve=()))}
        self.kept = KeptResults(self.call.out / "figures.json", identity)

    @property
    def figures(self) -> dict[str, Figures]:
        """Of all trainings that are measured, by their names."""
        return {run.name: self.kept.of(run.name, dict) for run in runs_of(self.call.scale) if run.name in self.kept}

    def measure(self) -> None:
        """Train and measure what is left, in its order.

        Raises:
            TimeUpError: the minutes are over.

        """
        call = self.call
        for run in runs_of(call.scale):
            if run.name in self.kept:
                continue
            arm = training_of(run, call.scale, call.out, call.data_dir)
            call.console.rule(arm.title, align="left")
            splits = self.splits(run.labels, run.seed)
            seconds = train_arm(arm, splits, call.console, deadline=call.deadline).seconds
            check_deadline(call.deadline, f"measuring {run.name}")
            with call.console.status(f"measuring {run.name}"):
                truth = self._truth(run)
                self.kept.of(run.name, partial(figures_of, arm.config, splits, truth, call.scale.made, seconds))

    def show(self) -> None:
        """Print tables and verdicts, and write them with the pictures beside the runs."""
        call, figures = self.call, self.figures
        if not figures:
            return
        console, findings, missing = call.console, findings_of(call.scale, figures), untried(call.scale, figures)
        show_results(call, tables(call.scale, figures), findings, missing, word="trained", separator=", ")
        draw_curve(call.out / "curve.png", call.scale, figures)
        first = FewLabelsRun("ugan", call.scale.labels, call.scale.seeds[0])
        if first.name in figures:
            self._sheet(first)
        console.print(f"written: {call.out}/table.md, results.json, curve.png, sheet.png", markup=False, highlight=False)

    def _sheet(self, run: FewLabelsRun) -> None:
        splits = self.splits(run.labels, run.seed)
        players = TrainedPlayers.of(
            training_of(run, self.call.scale, self.call.out, self.call.data_dir).config, len(splits.class_names)
        )
        kinds = [splits.test.images[:SHOWN], players.made(SHOWN, good=True), players.made(SHOWN, good=False)]
        draw_sheet(self.call.out / "sheet.png", kinds)

    def _splits(self, labels: int | None, seed: int) -> Splits:
        scale = self.call.scale
        return load(scale.data, directory=self.call.data_dir, size=scale.encoder.image_size, labels=labels, seed=seed)

    def _truth(self, run: FewLabelsRun) -> dict[str, int]:
        """The true label of each training image, by its source; the training has not seen it."""
        train = self._splits(None, run.seed).train
        return dict(zip(train.sources, train.labels.tolist(), strict=True))
