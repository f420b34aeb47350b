"""Every training of the reproduction: the four arms of one objective, by number of labels and seed."""

from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.trainer.config import Stage, TrainConfig
from reproduce.arms import Arm
from reproduce.ugan.scales import ArmName, FewLabelsScale

CURVE_ARMS: tuple[ArmName, ...] = ("ugan", "bad")
TITLES: dict[ArmName, str] = {
    "supervised": "labelled images alone",
    "good": "good generator (Triple-GAN)",
    "bad": "bad generator (Bad GAN)",
    "ugan": "both (UGAN)",
}


@dataclass(frozen=True)
class FewLabelsRun:
    """One training: which arm, of how many labels, by which seed."""

    arm: ArmName
    labels: int
    seed: int

    @property
    def name(self) -> str:
        """Of its directory, and of its figures: "ugan-100-0"."""
        return f"{self.arm}-{self.labels}-{self.seed}"


def runs_of(scale: FewLabelsScale) -> list[FewLabelsRun]:
    """All trainings in their order: the arms of the table seed by seed, then the curve."""
    table = [FewLabelsRun(arm, scale.labels, seed) for seed in scale.seeds for arm in scale.arms]
    curve = [FewLabelsRun(arm, labels, seed) for labels in scale.curve for seed in scale.seeds for arm in CURVE_ARMS]
    return table + curve


def training_of(run: FewLabelsRun, scale: FewLabelsScale, out: Path, data_dir: Path | None) -> Arm:
    """What is trained, into `out`/NAME; `data_dir` is where the set lies."""
    objective = replace(scale.objective, arm=run.arm, rate=scale.rate, average=scale.average)
    stage = Stage(
        "ugan",
        objective,
        steps=scale.steps,
        batch_size=scale.batch_size,
        learning_rate=scale.learning_rate,
        schedule="constant",
        betas=(0.5, 0.999),
        weight_decay=0.0,
        average=scale.average,
    )
    config = TrainConfig(
        encoder=scale.encoder,
        stages=(stage,),
        out=out / run.name,
        data=scale.data,
        data_dir=data_dir,
        labels=run.labels,
        # With more neighbours than this the smallest class could never have the most votes.
        k=min(scale.k, 2 * (run.labels // 10) - 1),
        weighting="exponential",
        seed=run.seed,
        device=scale.device,
        checkpoint_every=200,
        log_every=max(1, scale.steps // 360),
        estimate_cost=False,
    )
    return Arm(run.name, f"{run.arm}, {run.labels} labels, seed {run.seed}", config)
