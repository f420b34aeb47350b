"""The command line of an evaluation: one documented field per flag."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from holdfast.bundle.threat_model import Norm
from holdfast.errors import HoldfastError
from holdfast.evaluation.gradients import GradientOptions
from holdfast.exit_status import explain_statuses
from holdfast.model.device_choice import DeviceChoice, Precision
from holdfast.tyro_flags import Epsilon

PROGRAM = "holdfast evaluate"

ATTACK_OF_ONE_BALL = ("norm", "epsilon", "steps", "restarts")
"""Of `EvaluateConfig`, what says how one attack within one ball is made."""

SLICED = ("minutes", "cache")
"""Of `FullOptions`, what the quick table takes."""

PARTLY = ("balls", "curve_images", "minutes", "cache")
"""Of `FullOptions`, what --credibility and --hardening take."""

DESCRIPTION = f"""Measure the clean and robust accuracy of a bundle by attacks that know how it answers; its vote decides.

  holdfast evaluate runs/digits                       a table, by nine white-box attacks in one ball
  holdfast evaluate runs/photos --images 100 --minutes 9   a slice of that table, for large images; repeated, the next one
  holdfast evaluate runs/digits --epsilon 8/255       the same in another ball than the bundle's own
  holdfast evaluate runs/digits --credibility         what the report that is there says of credibility and detectors, again
  holdfast evaluate runs/digits --hardening           what it says of attacked exemplars, again
  holdfast evaluate runs/digits --shifts              what it says of noise, blur, compression and other cameras, again
  holdfast evaluate runs/digits --full                everything, and runs/digits/report/index.html
  holdfast evaluate runs/digits --full --balls linf:8/255 l2:0.5 --transfer-from runs/other
  holdfast evaluate runs/digits --full --minutes 9    a slice of it; repeated, the next one
  holdfast evaluate --address HOST:PORT --help        a running server instead, by its answers alone

Without --full: about a minute for the 400 test images of the digits on one core, two for 500 of cifar10-small.

With --credibility: about half an hour of a core for 1,000 images of cifar10-small in the bundle's own ball, and 20 minutes in
every other one; computed from 3.6 ms for a gradient of an image.

With --hardening: eleven minutes of a core for --curve-images 200 in four balls, by the same count.

With --full: some hundred attacks in every ball (own and library white-box attacks, transfer, black box, noise), with the
bank known and unknown, accuracy against epsilon, attacks that aim at credibility and detectors, and the sanity checks that tell
a robust classifier from a weak evaluation. 1,000 images of cifar10-small took four and a half hours of two cores at --steps 50
--restarts 1 --targets 3 --queries 1000 --gradients torch --precision bfloat16 --threads 2, before attacks aimed at credibility
and detectors; these add some 40 minutes, by the cost of single gradients. At full effort it is a matter of a night and a day,
by the same count. The bar says how much is left at most; ctrl-c, SIGTERM or --minutes stop it, and the same command goes on
from there.

A bundle that listens is not attacked: its test recordings are identified clean, in noise, in babble and in a room, and speakers
verified across channels, in half a minute of a core for 300 recordings; with --full its report is written.

The bundle is all it takes: embeddings come from its encoder.onnx, gradients from its gradient.onnx, test images from the
data set that its manifest names. --gradients torch takes gradients from the training run instead, on a GPU
if there is one; --serve-on cuda has the answers computed there, too; then try a larger --batch-size, which is part of what
is repeated.

{explain_statuses()}
"""


@dataclass(frozen=True)
class FullOptions:
    """Only with --full; some with --credibility and --hardening, too; --minutes and --cache with the quick table as well."""

    balls: tuple[str, ...] = ()
    """Balls to attack within, as NORM:RADIUS with pixels in [0, 1]; by default linf:2/255 linf:4/255 linf:8/255 l2:0.5 and
    the bundle's own."""

    transfer_from: tuple[Path, ...] = ()
    """Bundles of other encoders, of the same images and classes: what fools them is tried here."""

    queries: int = 5000
    """Of each black-box attack, per image."""

    targets: int = 9
    """Wrong classes that are targeted one by one, the strongest first."""

    curve_images: int = 300
    """Images that the curves of accuracy against epsilon and some of the sanity checks look at."""

    plants: int = 40
    """Images beside which an adversary is planted, to see whether it is found."""

    minutes: float = 0.0
    """Stop at the first batch after so many minutes of this invocation, with exit status 75; 0 does not stop. The same command
    goes on from there, and comes to what it would have come to at one go."""

    cache: Path | None = None
    """Directory in which what is done is kept until all is; by default BUNDLE.evaluation beside the bundle. The quick table
    keeps nothing without --minutes or --cache; then in BUNDLE.table."""


@dataclass(frozen=True)
class EvaluateConfig:
    """How a bundle is measured."""

    bundle: Annotated[Path, tyro.conf.Positional]
    """Directory of a complete bundle."""

    full: bool = False
    """Every attack, every ball, the sanity checks and the report, instead of the quick table."""

    data_dir: Path | None = None
    """Where the data set lies, if no longer where the manifest says."""

    images: int = 1000
    """Test images to attack, drawn by the seed; 0 takes all. At 1,000 the interval is +-3.1 points around 50 %."""

    norm: Norm | None = None
    """Norm of the ball; by default the bundle's threat model. With --full: see --balls."""

    epsilon: Epsilon | None = None
    """Radius of the ball in pixels of [0, 1]; by default the bundle's threat model. With --full: see --balls."""

    steps: int | None = None
    """Gradients per restart; by default 40, with --full 100."""

    restarts: int | None = None
    """Random starts per loss; by default 1, with --full 5."""

    batch_size: int | None = None
    """Images attacked at once, by default 128, of images larger than 256 x 256 fewer. What is found may depend on it."""

    seed: int = 0
    """Of the draw of images and of the random starts."""

    threads: int = 1
    """Batches attacked side by side, each in a CPU thread of its own, and threads of ONNX Runtime; whatever the number, the
    same is found."""

    serve_on: DeviceChoice = "cpu"
    """Where the answers that decide are computed, encoder.onnx and the index: cuda takes the GPU that holdfast serve --device
    cuda would, or ends; auto may take the CPU instead, and says so. Gradients are another matter: --gradients, --device."""

    serve_in: Precision = "float32"
    """What a GPU's encoder computes these answers in, as holdfast serve --precision does."""

    credibility: bool = False
    """Measure what credibility and detectors are worth, on the whole test set and against attacks that aim at each of them, and
    write it into the report that the bundle has already: after holdfast index --recalibrate. The rest of it stays, and so do
    figures of balls that --balls (by default the bundle's own) does not name, if credibility is the same. --curve-images (so
    many are attacked for all but credibility), --minutes and --cache count as with --full."""

    hardening: bool = False
    """Measure what attacked exemplars are worth (holdfast index --harden), and write it into the report that the bundle has
    already: accuracy with them and without them, clean and, of --curve-images of the --images, under a quick attack within
    --balls, by default those of the report. --minutes and --cache count as with --full."""

    shifts: bool = False
    """Measure what becomes of answers under shifts that nobody made on purpose, noise, blur, light, contrast, compression and
    other cameras, and write it into the report that the bundle has already. Seconds for 1,000 small images."""

    record: bool = False
    """Write the accuracy within the bundle's own ball (without --full: within the one attacked) into its manifest."""

    source: Annotated[GradientOptions, tyro.conf.arg(name="")] = field(default_factory=GradientOptions)
    options: Annotated[FullOptions, tyro.conf.arg(name="")] = FullOptions()


def _refuse_together(config: EvaluateConfig) -> None:
    partly = [f"--{name}" for name in ("credibility", "hardening", "shifts") if getattr(config, name)]
    if config.full and partly:
        raise HoldfastError(f"--full measures all there is: leave {partly[0]} away")
    if len(partly) > 1:
        raise HoldfastError(f"{' and '.join(partly)} are {len(partly)} measurements: take one after the other")
    of_one_ball = config.record or any(getattr(config, name) is not None for name in ATTACK_OF_ONE_BALL)
    if config.hardening and of_one_ball:
        raise HoldfastError("--hardening has an attack of its own and records nothing: name balls by --balls")
    if config.shifts and of_one_ball:
        raise HoldfastError("--shifts attacks nothing and records nothing: leave the attack and --record away")


def check(config: EvaluateConfig) -> None:
    """Refuse numbers that mean nothing, and options that would do nothing."""
    options = config.options
    least = {
        "--images": (config.images, 0),
        "--batch-size": (1 if config.batch_size is None else config.batch_size, 1),
        "--threads": (config.threads, 1),
    }
    least |= {"--steps": (config.steps or 1 if config.steps is None else config.steps, 1)}
    least |= {"--restarts": (1 if config.restarts is None else config.restarts, 1)}
    least |= {"--queries": (options.queries, 1), "--targets": (options.targets, 1)}
    least |= {"--curve-images": (options.curve_images, 1), "--plants": (options.plants, 1)}
    for flag, (value, smallest) in least.items():
        if value < smallest:
            raise HoldfastError(f"{flag} must be at least {smallest}, not {value}")
    if not options.minutes >= 0:
        raise HoldfastError(f"--minutes must be at least 0, not {options.minutes}")
    _refuse_together(config)
    if config.full and (config.norm is not None or config.epsilon is not None):
        raise HoldfastError("--full takes its balls by --balls, for instance --balls linf:8/255; --norm and --epsilon name one")
    if config.credibility and config.record:
        raise HoldfastError("the attack that --credibility begins with is too weak to be recorded: leave --record away")
    if config.credibility and options.balls and (config.norm is not None or config.epsilon is not None):
        raise HoldfastError("name balls by --balls or one by --norm and --epsilon, not both")
    usable = PARTLY if config.credibility or config.hardening else () if config.shifts else SLICED
    changed = [name for name, value in vars(options).items() if value != getattr(FullOptions(), name) and name not in usable]
    if not config.full and changed:
        raise HoldfastError(f"--{changed[0].replace('_', '-')} needs --full: what is asked for has no use for it")
