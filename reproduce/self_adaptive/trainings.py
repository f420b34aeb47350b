"""Every training of the reproduction, by name: what is compared differs, all else is the same."""

from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.objectives import (
    ObjectiveConfig,
    SelfAdaptation,
    SelfAdaptiveConfig,
    SelfDistilledConfig,
    SimclrConfig,
    SupervisedConfig,
)
from reproduce.arms import Arm
from reproduce.self_adaptive.scales import LOOKS, AdaptiveScale

STAGE = "labels"
"""Name of the stage that learns from labels."""

TRADES, TRADES_ADAPTED = "trades", "trades-adapted"
SIMCLR, ONE_VIEW, TWO_VIEWS = "simclr", "one-view", "two-views"
ABSTAINING = "abstaining"


def plain_name(rate: float) -> str:
    """Of cross-entropy on labels with noise: "plain-40"."""
    return f"plain-{100 * rate:.0f}"


def adapted_name(rate: float) -> str:
    """Of self-adaptive training on the same labels: "adapted-40"."""
    return f"adapted-{100 * rate:.0f}"


@dataclass(frozen=True)
class AdaptiveTrainings:
    """The trainings of a scale.

    Args:
        scale: how large.
        out: where each has a directory.
        data_dir: where the set lies.

    """

    scale: AdaptiveScale
    out: Path
    data_dir: Path | None

    def noisy(self, rate: float) -> tuple[Arm, Arm]:
        """Cross-entropy, and self-adaptive training, on labels with noise of a rate."""
        s, percent = self.scale, f"{100 * rate:.0f} %"
        plain = self._arm(plain_name(rate), f"cross-entropy, {percent} noise", SupervisedConfig(s.views), rate)
        adapted = self._arm(adapted_name(rate), f"self-adaptive, {percent} noise", self._adaptive(s.adaptation), rate)
        return plain, adapted

    @property
    def clean(self) -> Arm:
        """Cross-entropy on the true labels: what noise has not touched."""
        return self._arm(plain_name(0), "cross-entropy, true labels", SupervisedConfig(self.scale.views), 0.0)

    @property
    def abstaining(self) -> Arm:
        """Selective classification on the true labels, with the abstain logit."""
        s = self.scale
        objective = self._adaptive(replace(s.adaptation, start=s.abstain_start), abstain=True)
        return self._arm(ABSTAINING, "self-adaptive with an abstain logit, true labels", objective, 0.0)

    @property
    def adversarial(self) -> tuple[Arm, Arm]:
        """TRADES from the clean network, with the labels and with targets that adapt."""
        s = self.scale
        arms = []
        for name, title, adaptation in (
            (TRADES, "TRADES", None),
            (TRADES_ADAPTED, "TRADES, clean term self-adaptive", s.trades_adaptation),
        ):
            stage = Stage("trades", replace(s.trades, self_adaptive=adaptation), steps=s.trades_steps, batch_size=128)
            stage = replace(stage, optimiser=s.optimiser, learning_rate=s.learning_rate, weight_decay=s.weight_decay)
            config = replace(self.clean.config, out=self.out / name, keep_every=0, start_from=self.clean.config.out)
            config = replace(config, stages=(*config.stages, stage))
            arms.append(Arm(name, title, config, s.minutes * 3))
        return arms[0], arms[1]

    @property
    def label_free(self) -> tuple[Arm, Arm, Arm]:
        """The self-supervised form with one view and with two, and SimCLR."""
        s = self.scale
        objectives: tuple[tuple[str, str, ObjectiveConfig], ...] = (
            (SIMCLR, "SimCLR", SimclrConfig(augment=s.strong)),
            (ONE_VIEW, "self-distilled, one view", SelfDistilledConfig(augment=s.strong)),
            (TWO_VIEWS, "self-distilled, two views", SelfDistilledConfig(views=2, augment=s.strong)),
        )
        arms = []
        for name, title, objective in objectives:
            stage = Stage("label-free", objective, steps=s.label_free_steps, batch_size=s.batch_size, learning_rate=2e-3)
            config = replace(self.clean.config, out=self.out / name, keep_every=0, stages=(stage,))
            arms.append(Arm(name, title, config, s.minutes))
        return arms[0], arms[1], arms[2]

    def _adaptive(self, how: SelfAdaptation, *, abstain: bool = False) -> SelfAdaptiveConfig:
        return SelfAdaptiveConfig(how.momentum, how.start, how.weights, abstain=abstain, augment=self.scale.views)

    def _arm(self, name: str, title: str, objective: ObjectiveConfig, rate: float) -> Arm:
        s = self.scale
        stage = Stage(
            STAGE,
            objective,
            steps=s.steps,
            batch_size=s.batch_size,
            optimiser=s.optimiser,
            learning_rate=s.learning_rate,
            weight_decay=s.weight_decay,
            warmup=0.02,
        )
        config = TrainConfig(
            encoder=s.encoder,
            stages=(stage,),
            out=self.out / name,
            data=s.data,
            data_dir=self.data_dir,
            label_noise=rate,
            k=s.k,
            keep_every=s.steps // LOOKS,
            estimate_cost=False,
        )
        return Arm(name, title, config, s.minutes)
