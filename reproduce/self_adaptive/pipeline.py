"""From the command line to tables, verdicts and a picture, of what is trained so far."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from holdfast.bundle.threat_model import ThreatModel
from holdfast.data import Splits, load
from holdfast.model.vote import VoteParameters
from reproduce.arms import Arm, check_deadline, train_arm
from reproduce.command import Invocation, run_reproduction
from reproduce.embeddings import embed, linear_right, neighbours_right
from reproduce.kept_results import Figures, KeptResults, written
from reproduce.networks import TrainedNetwork, network_of
from reproduce.robust import robust_right
from reproduce.self_adaptive.findings import findings_of, untried
from reproduce.self_adaptive.noise import noisy_figures, untouched_figures
from reproduce.self_adaptive.picture import draw
from reproduce.self_adaptive.scales import SCALES, AdaptiveScale
from reproduce.self_adaptive.selective import selective_figures
from reproduce.self_adaptive.tables import tables
from reproduce.self_adaptive.trainings import AdaptiveTrainings
from reproduce.showing import measure_and_show, show_results

ABOUT = (
    "Train networks on labels of which some are wrong, by cross-entropy and self-adaptively (arXiv 2002.10319), and see who"
    " stays right, who finds the wrong labels, and who ranks answers best. Each claim is judged on the same images. What is"
    " trained is shown at the end of each call, whether all is or not."
)

Measure = Callable[[], Figures]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_reproduction("self_adaptive", ABOUT, SCALES, run, arguments)


def run(call: Invocation[AdaptiveScale]) -> None:
    """Train and measure what is left, then show all that there is.

    Raises:
        TimeUpError: the minutes are over.

    """
    measure_and_show(AdaptiveReproduction(call))


@dataclass
class AdaptiveReproduction:
    """One call, and the figures that it and earlier ones have measured."""

    call: Invocation[AdaptiveScale]

    def __post_init__(self) -> None:
        call, scale = self.call, self.call.scale
        self.trainings = AdaptiveTrainings(scale, call.out, call.data_dir)
        self.figures: dict[str, Figures] = {}
        self.splits = lru_cache(maxsize=1)(self._splits)
        identity = {"scale": repr(replace(scale, about="", minutes=0.0)), "data": self.splits(0.0).sha256}
        self.kept = KeptResults(call.out / "figures.json", identity)

    def measure(self) -> None:
        """Everything, in the order in which it decides most: the figure's rate of noise first.

        Raises:
            TimeUpError: the minutes are over.

        """
        scale = self.call.scale
        self._noise(scale.figure_rate)
        self._selective()
        for rate in scale.rates:
            self._untouched(rate)
        self._adversarial()
        self._label_free()
        for rate in scale.rates[1:]:
            self._noise(rate)

    def show(self) -> None:
        """Print tables and verdicts, and write them with the picture beside the runs."""
        call, console, figures = self.call, self.call.console, self.figures
        findings, missing = findings_of(call.scale, figures), untried(call.scale, figures)
        shown = tables(call.scale, figures, len(self.splits(0.0).class_names))
        show_results(call, shown, findings, missing, word="tried", separator="; ")
        draw(call.out / "picture.png", call.scale, figures)
        console.print(f"written: {call.out}/table.md, results.json, picture.png", markup=False, highlight=False)

    def _splits(self, rate: float) -> Splits:
        scale = self.call.scale
        return load(scale.data, directory=self.call.data_dir, size=scale.encoder.image_size, label_noise=rate)

    def _train(self, arm: Arm) -> float:
        self.call.console.rule(arm.title, align="left")
        return train_arm(arm, self.splits(arm.config.label_noise), self.call.console, deadline=self.call.deadline).seconds

    def _of(self, name: str, arms: Sequence[Arm], measure: Measure) -> None:
        """Figures of a name: kept ones, or measured once the arms are trained."""
        if name not in self.kept:
            seconds = [self._train(arm) for arm in arms]
            check_deadline(self.call.deadline, f"measuring {name}")
            with self.call.console.status(f"measuring {name}"):
                self.figures[name] = self.kept.of(name, lambda: measure() | {"seconds": seconds[-1]})
        self.figures[name] = self.kept.of(name, dict)

    def _noise(self, rate: float) -> None:
        for arm in self.trainings.noisy(rate):
            self._of(arm.name, [arm], partial(self._noisy, arm))

    def _noisy(self, arm: Arm) -> Figures:
        return noisy_figures(arm, self.splits(arm.config.label_noise), self.call.scale)

    def _untouched(self, rate: float) -> None:
        clean = self.trainings.clean

        def measure() -> Figures:
            return untouched_figures(self._network(clean), self.splits(rate), self.call.scale)

        self._of(f"untouched-{100 * rate:.0f}", [clean], measure)

    def _selective(self) -> None:
        for arm in (self.trainings.clean, self.trainings.abstaining):
            self._of(f"scores-{arm.name}", [arm], partial(self._scores, arm))

    def _scores(self, arm: Arm) -> Figures:
        scale, splits = self.call.scale, self.splits(0.0)
        # Natural networks withstand next to nothing: a small ball still leaves something to rank.
        threat = ThreatModel("linf", scale.trades.epsilon / 8)
        return selective_figures(self._network(arm), splits, scale.k, threat, scale.attacked)

    def _adversarial(self) -> None:
        for arm in self.trainings.adversarial:
            self._of(arm.name, [self.trainings.clean, arm], partial(self._robust, arm))

    def _robust(self, arm: Arm) -> Figures:
        scale, splits, network = self.call.scale, self.splits(0.0), self._network(arm)
        _, logits = network.look(splits.test.images)
        some = splits.test.take(range(min(scale.attacked, len(splits.test))))
        robust = robust_right(network, some, scale.trades.threat)
        return {"head": written(network.answers(logits) == splits.test.labels), "robust": written(robust)}

    def _label_free(self) -> None:
        for arm in self.trainings.label_free:
            self._of(arm.name, [arm], partial(self._worth, arm))

    def _worth(self, arm: Arm) -> Figures:
        splits, vote = self.splits(0.0), VoteParameters(k=self.call.scale.k)
        encoder = train_arm(arm, splits, self.call.console).encoder
        bank, queries = embed(encoder, splits.train.images), embed(encoder, splits.test.images)
        return {
            "linear": written(linear_right(bank, splits.train.labels, queries, splits.test.labels)),
            "knn": written(neighbours_right(encoder, splits.train, splits.test, vote)),
        }

    def _network(self, arm: Arm) -> TrainedNetwork:
        return network_of(arm.config, len(self.splits(0.0).class_names))
