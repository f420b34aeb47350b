"""How large the reproduction is."""

from dataclasses import dataclass

from holdfast.evaluation.speech.trials import TrialSize
from holdfast.trainer.encoders import ResNetConfig


@dataclass(frozen=True)
class SpeechScale:
    """One size of everything.

    Attributes:
        name: as typed after --scale.
        about: what it takes, for --help.
        voices: training voices.
        sessions: of each voice; a fifth of all and a tenth of the rest are held out.
        steps, batch: of each training.
        seeds: of the three arms that claims are about.
        sweep: further weights of the discriminator, of the first seed.
        baselines: whether cross-entropy on the voices and SimCLR are trained as well.
        encoder: that is trained.
        trials: that errors are measured on.
        probe_steps: of the probe that is trained afterwards.
        photographs: of a batch of CIFAR-10.
        test_images: of CIFAR-10 that are asked about.

    """

    name: str
    about: str
    voices: int
    sessions: int
    steps: int
    batch: int
    seeds: tuple[int, ...]
    sweep: tuple[float, ...]
    baselines: bool
    encoder: ResNetConfig
    trials: TrialSize
    probe_steps: int
    photographs: int
    test_images: int


CI = SpeechScale(
    name="ci",
    about="a few voices and steps, to see that everything runs; its figures mean nothing",
    voices=4,
    sessions=5,
    steps=60,
    batch=8,
    seeds=(0,),
    sweep=(),
    baselines=False,
    encoder=ResNetConfig(width=8, dim=32, image_size=64, activation="silu"),
    trials=TrialSize(items=4, channels=3, pairs=200),
    probe_steps=60,
    photographs=16,
    test_images=100,
)
SMALL = SpeechScale(
    name="small",
    about="40 voices of espeak-ng, 1,500 steps of 24 x 3 pictures, three seeds; about 90 minutes of two quiet cores",
    voices=40,
    sessions=7,
    steps=1_500,
    batch=24,
    seeds=(0, 1, 2),
    sweep=(1.0, 10.0),
    baselines=True,
    encoder=ResNetConfig(width=24, dim=128, image_size=64, activation="silu"),
    trials=TrialSize(),
    probe_steps=1_000,
    photographs=128,
    test_images=2_000,
)
PAPER = SpeechScale(
    name="paper",
    about="recordings of thousands of speakers as DATA_DIR/voices/SPEAKER/*.wav, 150,000 steps of 200 x 3; for a GPU",
    voices=68,
    sessions=40,
    steps=150_000,
    batch=200,
    seeds=(0, 1, 2),
    sweep=(1.0, 10.0),
    baselines=True,
    encoder=ResNetConfig(width=64, blocks=2, dim=512, image_size=64, activation="silu"),
    trials=TrialSize(items=200, channels=50, pairs=30_000),
    probe_steps=5_000,
    photographs=256,
    test_images=10_000,
)
SCALES = {scale.name: scale for scale in (CI, SMALL, PAPER)}
