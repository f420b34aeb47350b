"""From the command line to a table, verdicts and a picture, of what is trained so far."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from holdfast.bundle.threat_model import ThreatModel
from holdfast.data import Splits, load
from holdfast.model.vote import VoteParameters
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders.activations import Activation
from reproduce.arms import Arm, check_deadline, train_arm
from reproduce.command import Invocation, run_reproduction
from reproduce.embeddings import neighbours_right
from reproduce.kept_results import Figures, KeptResults, written
from reproduce.networks import network_of
from reproduce.robust import robust_right
from reproduce.showing import measure_and_show, show_results
from reproduce.smooth_activations.findings import TITLES, arm_name, findings_of, tables, untried
from reproduce.smooth_activations.picture import draw
from reproduce.smooth_activations.scales import SCALES, ActivationScale

ABOUT = (
    "Train networks under attack with ReLU and with smooth activations (arXiv 2006.14536), all else alike, and attack each on"
    " the same test images. What is trained is shown at the end of each call, whether all is or not."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_reproduction("smooth_activations", ABOUT, SCALES, run, arguments)


def run(call: Invocation[ActivationScale]) -> None:
    """Train and measure what is left, then show all that there is.

    Raises:
        TimeUpError: the minutes are over.

    """
    measure_and_show(ActivationReproduction(call))


@dataclass
class ActivationReproduction:
    """One call, and the figures that it and earlier ones have measured."""

    call: Invocation[ActivationScale]

    def __post_init__(self) -> None:
        call = self.call
        self.figures: dict[str, Figures] = {}
        identity = {"scale": repr(replace(call.scale, about="")), "data": self.splits.sha256}
        self.kept = KeptResults(call.out / "figures.json", identity)

    @cached_property
    def splits(self) -> Splits:
        """The labelled set."""
        scale = self.call.scale
        return load(scale.data, directory=self.call.data_dir, size=scale.encoder.image_size)

    def measure(self) -> None:
        """Seed by seed, so that what there is can be compared.

        Raises:
            TimeUpError: the minutes are over.

        """
        scale = self.call.scale
        for seed in scale.seeds:
            for activation in scale.activations:
                name, arm = arm_name(activation, seed), self._arm(activation, seed)
                if name not in self.kept:
                    self.call.console.rule(arm.title, align="left")
                    trained = train_arm(arm, self.splits, self.call.console, deadline=self.call.deadline)
                    check_deadline(self.call.deadline, f"measuring {arm.title}")
                    with self.call.console.status(f"attacking {arm.title}"):
                        figures = self._figures(arm) | {"seconds": trained.seconds}
                    self.kept.of(name, partial(dict, figures))
                self.figures[name] = self.kept.of(name, dict)

    def show(self) -> None:
        """Print table and verdicts, and write them with the picture beside the runs."""
        call, figures = self.call, self.figures
        shown, findings = tables(call.scale, figures), findings_of(call.scale, figures)
        show_results(call, shown, findings, untried(call.scale, figures), word="trained", separator="; ")
        draw(call.out / "picture.png", call.scale, figures)
        call.console.print(f"written: {call.out}/table.md, results.json, picture.png", markup=False, highlight=False)

    def _arm(self, activation: Activation, seed: int) -> Arm:
        scale, name = self.call.scale, arm_name(activation, seed)
        stage = Stage(
            "adversarial", scale.objective, scale.steps, batch_size=scale.batch_size, learning_rate=scale.learning_rate
        )
        config = TrainConfig(
            encoder=replace(scale.encoder, activation=activation),
            stages=(stage,),
            out=self.call.out / name,
            data=scale.data,
            data_dir=self.call.data_dir,
            seed=seed,
            k=scale.k,
            device=scale.device,
            checkpoint_every=100,
            log_every=20,
            estimate_cost=False,
        )
        return Arm(name, f"{TITLES[activation]}, seed {seed}", config)

    def _figures(self, arm: Arm) -> Figures:
        scale, splits = self.call.scale, self.splits
        network = network_of(arm.config, len(splits.class_names))
        _, logits = network.look(splits.test.images)
        some = splits.test.take(range(min(scale.attacked, len(splits.test))))
        return {
            "clean": written(network.answers(logits) == splits.test.labels),
            "robust": written(robust_right(network, some, ThreatModel("linf", scale.epsilon))),
            "knn": written(neighbours_right(network.encoder, splits.train, splits.test, VoteParameters(k=scale.k))),
        }
