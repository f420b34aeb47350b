"""What is trained: three arms that differ in augmentation and adversary, more weights of the adversary, and two baselines."""

from pathlib import Path

from holdfast.data.speech.bank import PROFILES
from holdfast.trainer.augment import AugmentConfig
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.objectives import (
    AugmentationAdversarialConfig,
    ObjectiveConfig,
    SimclrConfig,
    SupervisedConfig,
)
from holdfast.trainer.objectives.contrastive.channel_views import SpeechViews
from reproduce.arms import Arm
from reproduce.augmentation_adversarial.scales import SpeechScale

WEIGHT = 3.0
"""Of the discriminator: the authors' lambda."""

NONE, AUGMENTED, ADVERSARIAL = "none", "augmented", "adversarial"
TITLES = {NONE: "no augmentation", AUGMENTED: "augmentation", ADVERSARIAL: "augmentation, adversary"}
SUPERVISED, SIMCLR = "supervised", "simclr"

# A picture of sound that is mirrored is another sound; shifts are shifts in pitch and time.
_PICTURES = AugmentConfig(flip=0.0, translate=4, brightness=0.2, contrast=0.2, saturation=0.0, hue=0.0, grey=0.0)


def arm_name(kind: str, seed: int) -> str:
    """The name of an arm of one seed."""
    return f"{kind}-{seed}"


def weighted(weight: float) -> str:
    """The kind of an arm of the sweep."""
    return f"weight{weight:g}"


def speech_arms(scale: SpeechScale, bank: Path, out: Path) -> list[Arm]:
    """All arms, those of the first seed first.

    Args:
        scale: how large.
        bank: the file of sessions that is trained on.
        out: where each arm gets a directory.

    """

    def arm(kind: str, title: str, objective: ObjectiveConfig, seed: int = 0) -> Arm:
        config = TrainConfig(
            encoder=scale.encoder,
            stages=(Stage(kind, objective, scale.steps, batch_size=scale.batch, learning_rate=1e-3),),
            out=out / arm_name(kind, seed),
            data="sessions",
            data_dir=bank,
            seed=seed,
            estimate_cost=False,
        )
        return Arm(arm_name(kind, seed), title if seed == 0 else f"{title}, seed {seed}", config)

    def adversary(weight: float, *, augmented: bool = True) -> AugmentationAdversarialConfig:
        return AugmentationAdversarialConfig(weight=weight, views=SpeechViews(PROFILES, augmented))

    def three(seed: int) -> list[Arm]:
        return [
            arm(ADVERSARIAL, TITLES[ADVERSARIAL], adversary(WEIGHT), seed),
            arm(AUGMENTED, TITLES[AUGMENTED], adversary(0.0), seed),
            arm(NONE, TITLES[NONE], adversary(0.0, augmented=False), seed),
        ]

    found = three(scale.seeds[0])
    if scale.baselines:
        found.append(arm(SUPERVISED, "cross-entropy on the voices", SupervisedConfig(_PICTURES)))
        found.append(arm(SIMCLR, "SimCLR on the pictures", SimclrConfig(augment=_PICTURES)))
    found += [each for seed in scale.seeds[1:] for each in three(seed)]
    found += [arm(weighted(weight), f"adversary, weight {weight:g}", adversary(weight)) for weight in scale.sweep]
    return found
