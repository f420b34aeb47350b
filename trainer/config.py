"""The configuration of a training run. Presets, with their cost and their accuracy, are in trainer/presets/."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from holdfast.bundle.threat_model import Norm, ThreatModel
from holdfast.data import DataName
from holdfast.data.streaming.training import MEMORY_GB
from holdfast.data.streams import StreamConfig
from holdfast.data.streams.screening import OUTLIER_P
from holdfast.model.preprocess import MAX_PIXELS
from holdfast.trainer.encoders import EncoderConfig
from holdfast.trainer.objectives import ObjectiveConfig, PseudoLabelledConfig, UganConfig
from holdfast.tyro_flags import Epsilon

SMALLEST_PART = 4096
"""Bytes that a part of a checkpoint must have room for."""


@dataclass(frozen=True)
class Stage:
    """A part of the training: one objective, for a number of steps under a schedule of the learning rate."""

    name: str
    """Name in the log and on the progress bar."""

    objective: tyro.conf.AvoidSubcommands[ObjectiveConfig]
    """What is minimised."""

    steps: int
    """Batches that are learned from."""

    batch_size: int = 128
    """Images in each."""

    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule, or the constant rate."""

    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    """One-cycle: up by a cosine and down to nothing by another. Constant: every step alike, so that a short stage is the
    beginning of a longer one, and its checkpoints can be compared."""

    warmup: float = 0.2
    """Share of the steps of a one-cycle schedule in which the learning rate rises; a cosine brings it down after."""

    optimiser: Literal["adam", "sgd"] = "adam"
    """Adam, as AMDIM; or SGD with Nesterov's momentum of .9, which wants learning rates about fifty times as large."""

    betas: tuple[float, float] = (0.8, 0.999)
    """Adam's decay of the means of gradients and of their squares, as AMDIM."""

    weight_decay: float = 1e-5
    """Pull of the weights toward 0, added to their gradients; as AMDIM. With SGD 5e-4 is usual."""

    clip: float = 10.0
    """Longest gradient; longer ones are shortened to it."""

    chunk: int | None = None
    """Number, from 0, of the chunk of the stream that it learns from; without one it learns from the whole labelled set."""

    average: float = 0.0
    """Decay of the exponential mean of the encoder's weights over the steps, which then is what the stage leaves; at 0 it
    leaves the last weights. Under attack the mean is the better one (arXiv 2010.03593). BatchNorm's statistics are estimated
    anew for it, on the training batches that would come next."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2:
            raise ValueError(f"stage {self.name!r} needs at least 1 step, of at least 2 images to tell apart")
        if not 0 <= self.average < 1:
            raise ValueError(f"stage {self.name!r}: the decay of the mean weights must be in [0, 1), not {self.average}")


@dataclass(frozen=True)
class TrainConfig:
    """One training run: data -> stages -> bundle."""

    encoder: tyro.conf.AvoidSubcommands[EncoderConfig]
    """The network that is trained."""

    stages: tuple[Stage, ...]
    """What it is trained for, one after the other."""

    out: Path
    """Directory of the bundle, which still lacks its index; checkpoint/ and log.csv lie beside it."""

    data: DataName = "digits"
    """The labelled set. Labels are read by guided, supervised and evaluating code only."""

    data_dir: Path | None = None
    """Where the set lies: cifar10 (else downloaded), mnist, fashion-mnist, domains, folder, fsdd, voices, sessions."""

    labels: int | None = None
    """Labels of training images that are known, as many of each class, drawn by the seed; by default all. The encoder may learn
    from the other images without their labels, and only labelled ones become exemplars. Calibration images keep theirs."""

    stream: StreamConfig = field(default_factory=lambda: StreamConfig(chunks=1))
    """How the training part is cut into chunks, which stages name."""

    calibration: int | None = None
    """Images held out of training and index, to calibrate credibility; by default as the data set suggests."""

    skip_unreadable: bool = False
    """Leave out files of a folder that are no images, instead of refusing."""

    max_pixels: int = MAX_PIXELS
    """Most pixels of an image of a folder, looked at before decoding; four times as many of a JPEG."""

    memory: float = MEMORY_GB
    """GB that the decoded images of a folder may take. A larger set is not kept in memory but decoded while it is learned from,
    and gives the same batches; at 0 every folder is."""

    decoders: int | None = None
    """Processes that decode what is not kept in memory: by default one for each core that --threads leaves free, at least 1."""

    label_noise: float = 0.0
    """Share of the training labels that are drawn anew from all classes, by the seed, to study wrong labels; with C classes a
    share of (C - 1) / C of these becomes wrong. The index gets the same labels, evaluations the true ones. label_noise.csv
    lists the images."""

    whitening: float = 0.0
    """Evens out the spread of the embedding's directions after the training: 0 leaves them, .5 makes them all alike. A finished
    run with --resume exports again with another one."""

    half: bool = False
    """Round the weights of the exported encoder to float16, and store them once for all graphs: a quarter of the bytes. They
    are still computed with in float32, but for encoder_float16.onnx, which is for GPUs. A finished run with --resume exports
    again with or without."""

    norm: Norm = "linf"
    """Norm of the threat model that the bundle states and is evaluated under."""

    epsilon: Epsilon = 8 / 255
    """Its epsilon, in pixels of [0, 1]."""

    k: int = 15
    """Neighbours that vote."""

    weighting: Literal["uniform", "exponential"] = "uniform"
    """Each neighbour counts once (the paper), or by exp(similarity / temperature)."""

    temperature: float = 0.1
    """Temperature of the exponential weights."""

    surrogate_tau: float = 0.05
    """Temperature of the soft-kNN that the server's probes attack."""

    seed: int = 0
    """Of the initial weights, the order of images, views and attacks, and the split of the data."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU if there is one."""

    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Of convolutions in training. Weights, losses and the exported encoder are float32."""

    threads: int = 1
    """CPU threads: each learns from its shard of every batch, and BatchNorm and contrastive losses see one shard at a time. So
    a run can be resumed only with as many as it began with. A GPU takes batches whole."""

    compile: bool = False
    """Let torch.compile fuse the encoder's operators: a minute or more at the start of each stage, for steps that move fewer
    bytes. For one thread, or a GPU. AMDIM and SSAT look at maps within the encoder and gain in their attacks alone."""

    checkpoint_every: int = 100
    """Steps between two checkpoints; one is also written at the end of every stage."""

    keep_every: int = 0
    """Steps between two copies of encoder and objective that are kept in `out`/snapshots, to see how the training went; 0 keeps
    none."""

    checkpoint_precision: Literal["float32", "float16"] = "float32"
    """float16 keeps weights in float16 and the optimiser's memory in 8 or 16 bits, a third to a half of the bytes. A run that
    is resumed from one is the uninterrupted one but for the rounding, and what it ends with is rounded as well."""

    checkpoint_part: float = 0.0
    """Largest file of a checkpoint, in MiB: larger ones are split into parts. 0 does not split."""

    log_every: int = 10
    """Steps between two lines of log.csv."""

    estimate_cost: bool = True
    """Take a few steps of every stage on copies first, and say what the run costs by operations, bytes and time. The training
    is the same with and without."""

    resume: bool = False
    """Go on from the last checkpoint in `out`. Refused if it is of another training."""

    resume_if_any: bool = False
    """Resume where `out` holds a checkpoint, else begin: one command that can be repeated until the run is finished."""

    minutes: float = 0.0
    """Stop at the first step after so many minutes of this invocation, with a checkpoint to resume from and exit status 75; 0
    does not stop. A run in slices equals the run in one go, except that guided SSAT renews its bank where it is resumed."""

    start_from: Annotated[Path | None, tyro.conf.arg(metavar="RUN")] = None
    """Directory of a finished run whose stages are the first of this one's: they are taken from there."""

    continue_with: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Of a finished run, holdfast train RUN --continue-with DIR: images without labels, such as a server's spool, that it goes
    on learning from. They are copied into `out`."""

    outlier_p: float = OUTLIER_P
    """P-value of the distance to its k-th exemplar up to which an image of DIR is left out, as unlike what RUN knows; 0 leaves
    none out for that. Near duplicates are left out anyway."""

    arrived: tyro.conf.Suppress[str] = ""
    """SHA-256 of the images without labels that the run learns from, as they lie in `out`."""

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"a run needs stages with different names, not {names}")
        for before, stage in zip((None, *self.stages), self.stages, strict=False):
            if isinstance(stage.objective, PseudoLabelledConfig) and not (before and isinstance(before.objective, UganConfig)):
                raise ValueError(
                    f"stage {stage.name!r} takes labels from the classifier of the stage before, which must be ugan"
                )
        if self.threads < 1:
            raise ValueError(f"a run needs at least 1 thread, not {self.threads}")
        small = [stage.name for stage in self.stages if stage.batch_size < 2 * self.threads]
        if small:
            raise ValueError(f"{self.threads} threads need batches of at least {2 * self.threads} images: {', '.join(small)}")
        if self.compile and self.threads > 1:
            raise ValueError(f"--compile is for one thread, or a GPU, not for {self.threads} threads: choose one of the two")
        least = {"the seed": (self.seed, 0), "k": (self.k, 1), "the calibration part": (self.calibration or 0, 0)}
        least |= {"the number of labels": (1 if self.labels is None else self.labels, 1)}
        least |= {f"the chunk of stage {stage.name!r}": (stage.chunk or 0, 0) for stage in self.stages}
        least |= {"keep-every": (self.keep_every, 0)}
        least |= {"checkpoint-every": (self.checkpoint_every, 1), "log-every": (self.log_every, 1)}
        for name, (value, smallest) in least.items():
            if value < smallest:
                raise ValueError(f"{name} must be at least {smallest}, not {value}")
        if not (self.temperature > 0 and self.surrogate_tau > 0):
            raise ValueError(f"temperatures must be above 0, not {self.temperature} and {self.surrogate_tau}")
        if self.checkpoint_part and not self.checkpoint_part * 2**20 >= SMALLEST_PART:
            raise ValueError(f"parts of a checkpoint must have at least {SMALLEST_PART} bytes, not {self.checkpoint_part} MiB")
        if not 0 <= self.outlier_p < 1:
            raise ValueError(f"outlier-p must be in [0, 1), not {self.outlier_p}")
        if not self.memory >= 0 or (self.decoders is not None and self.decoders < 0):
            raise ValueError(f"memory and decoders must be at least 0, not {self.memory} and {self.decoders}")
        if not self.minutes >= 0:
            raise ValueError(f"minutes must be at least 0, not {self.minutes}")
        if not 0 <= self.label_noise <= 1:
            raise ValueError(f"label noise is a share of the training images, in [0, 1], not {self.label_noise}")
        if not 0 <= self.whitening <= 0.5:
            raise ValueError(f"whitening must be in [0, .5], not {self.whitening}")
        ThreatModel(self.norm, self.epsilon)  # refuses what is no ball

    @property
    def threat(self) -> ThreatModel:
        """The threat model that the bundle states."""
        return ThreatModel(self.norm, self.epsilon)
