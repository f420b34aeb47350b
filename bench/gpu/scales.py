"""How much is done at each step: on a GPU in earnest, or the same steps in minutes on two CPU cores."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Goal:
    """What the evaluation is to find, as fractions: clean accuracy, and robust accuracy within balls like linf:4/255."""

    clean: float
    robust: dict[str, float]


@dataclass(frozen=True)
class BenchScale:
    """The flags of each step's command, but for device and places.

    Attributes:
        about: for --help.
        preset: of the trainer.
        needs_data: whether its data set lies in a directory.
        minutes: about how long the steps take that cannot be cut in slices; no new one is begun where less is left.
        precision: of what is served on a GPU.
        goal: none where nothing is promised.

    """

    about: str
    preset: str
    needs_data: bool
    training: tuple[str, ...]
    train: tuple[str, ...]
    index: tuple[str, ...]
    evaluate: tuple[str, ...]
    engine: tuple[str, ...]
    serve: tuple[str, ...]
    scan: tuple[str, ...]
    precision: str = "float32"
    minutes: dict[str, float] = field(default_factory=dict)
    goal: Goal | None = None


# Minutes are guesses, on the safe side, until somebody has measured them on a GPU.
FLAGSHIP = BenchScale(
    about="ResNet-18 on CIFAR-10, for one H100",
    preset="cifar10-resnet18",
    needs_data=True,
    training=("--encoder", "resnet18", "--width", "64", "--batch", "512", "--steps", "100", "--pairs", "5"),
    train=("--checkpoint-part", "15"),
    index=("--half", "--harden", "0.25", "--harden-within", "linf:8/255", "--batch-size", "1024"),
    evaluate=(
        *("--full", "--images", "0", "--balls", "linf:4/255", "linf:8/255", "--batch-size", "1000"),
        *("--steps", "50", "--restarts", "1", "--targets", "3", "--queries", "1000", "--precision", "bfloat16"),
    ),
    engine=("--batch", "256"),
    serve=("--workers", "0", "1", "4", "8", "--images", "1", "32", "256", "--in-flight", "2048"),
    scan=("--rows", "50000", "1000000", "10000000", "--dim", "128"),
    minutes={"training": 3, "index": 5, "parity": 2, "engine": 1, "serve": 3, "scan": 2},
    precision="float16",
    goal=Goal(clean=0.84, robust={"linf:4/255": 0.66, "linf:8/255": 0.47}),
)

DIGITS = BenchScale(
    about="the digits of scikit-learn, for two CPU cores: four minutes",
    preset="digits",
    needs_data=False,
    training=("--encoder", "resnet18", "--width", "8", "--batch", "64", "--steps", "5", "--pairs", "5"),
    train=(),
    index=("--half",),
    evaluate=("--images", "0"),
    engine=("--batch", "64"),
    serve=("--workers", "0", "1", "2", "--images", "1", "32", "--in-flight", "64", "--seconds", "2"),
    scan=("--rows", "50000", "200000", "--dim", "128"),
)

TINY = BenchScale(
    about="every step at its least, for tests: nothing that it measures means anything",
    preset="digits-supervised",
    needs_data=False,
    training=("--encoder", "resnet18", "--width", "4", "--batch", "8", "--steps", "1", "--pairs", "2"),
    train=(
        "--encoder.width",
        "4",
        "--encoder.dim",
        "16",
        "--no-estimate-cost",
        "--stages.0.steps",
        "2",
        "--stages.0.batch-size",
        "16",
    ),
    index=(),
    evaluate=("--images", "8", "--steps", "1"),
    engine=("--batch", "4", "--seconds", "0.01", "--rounds", "2"),
    serve=("--workers", "0", "1", "--images", "4", "--in-flight", "8", "--seconds", "0.1", "--processes", "1"),
    scan=("--rows", "500", "1000", "--dim", "8", "--batches", "1", "4", "--k", "3", "--times", "2"),
)

SCALES = {"flagship": FLAGSHIP, "digits": DIGITS, "tiny": TINY}
