"""The rows of the table: what each is trained for, and which other one it goes on from."""

from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.trainer.config import Stage, TrainConfig
from reproduce.ssat.scales import TableScale

SUPERVISED, ADVERSARIAL, AMDIM = "supervised", "supervised-adversarial", "amdim"
LABEL_FREE, DEACL = "ssat-label-free", "deacl"


@dataclass(frozen=True)
class Published:
    """The authors' figures in percent, for the epsilons they call .03 and .06."""

    clean: str
    dsr: tuple[str, str]


@dataclass(frozen=True)
class Run:
    """A row.

    Attributes:
        name: of its bundle's folder.
        title: in tables and in the picture.
        config: what is trained.
        minutes: expected for what is not shared with `after`.
        after: name of the run whose checkpoint it goes on from; it comes before this one in the table's list.
        published: the authors' figures, where they have such a row.

    """

    name: str
    title: str
    config: TrainConfig
    minutes: float
    after: str | None = None
    published: Published | None = None

    @property
    def directory(self) -> Path:
        """Of its bundle."""
        return self.config.out


def guided_name(step: int) -> str:
    """Of guided SSAT after so many steps."""
    return f"ssat-guided-{step}"


def table_rows(scale: TableScale, out: Path, data_dir: Path | None = None) -> tuple[Run, ...]:
    """The rows in the order of the table, which is one in which they can be trained.

    Args:
        scale: how large.
        out: where the bundles go, each in a folder by the run's name.
        data_dir: where the labelled set lies.

    """

    def run(name: str, title: str, *stages: Stage, after: str | None = None, published: Published | None = None) -> Run:
        config = TrainConfig(
            encoder=scale.encoder,
            stages=stages,
            out=out / name,
            data=scale.data,
            data_dir=data_dir,
            epsilon=scale.balls[-1].epsilon,
            k=scale.k,
            device=scale.device,
            checkpoint_every=50,
        )
        return Run(name, title, config, scale.minutes.get(name, 0.0), after, published)

    first, last = scale.checkpoints[0], scale.checkpoints[-1]
    published = {
        first: Published("83.4", ("62.9", "39.0")),
        last: Published("75", ("85 to 87", "70 to 72")),
    }

    def guided(step: int, before: str) -> Run:
        stages = scale.amdim, replace(scale.guided, steps=step)
        title = f"SSAT guided, {step} steps"
        return run(guided_name(step), title, *stages, after=before, published=published.get(step))

    earlier = (AMDIM, *map(guided_name, scale.checkpoints))
    adversarial_figures = Published("70.1", ("91.5", "77.5"))
    return (
        run(SUPERVISED, "supervised", scale.supervised, published=Published("92.0", ("19", "19"))),
        run(ADVERSARIAL, "supervised adversarial", scale.adversarial, published=adversarial_figures),
        run(AMDIM, "self-supervised (AMDIM)", scale.amdim, published=Published("84.6", ("51.9", "27.8"))),
        *(guided(step, before) for step, before in zip(scale.checkpoints, earlier, strict=False)),
        run(LABEL_FREE, "SSAT label-free", scale.amdim, scale.label_free, after=AMDIM),
        run(DEACL, "DeACL (not in the paper)", scale.amdim, scale.deacl, after=AMDIM),
    )
