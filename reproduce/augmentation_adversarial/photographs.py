"""The same objective on photographs: whether the kNN answers alike, whatever camera took the picture.

Two arms on CIFAR-10, whose views are two crops by two cameras (colours, blur, noise), with and without the adversary. Each test
image is asked about as it is, and as three cameras would have taken it; an answer that changes is a flip.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from holdfast.data import LabelledImages
from holdfast.intervals import Counted, Rate, difference
from holdfast.intervals.paired import Bits
from holdfast.model.images.pixels import Pixels
from holdfast.model.vote import VoteParameters
from holdfast.trainer.config import Stage, TrainConfig
from holdfast.trainer.encoders import ImageEncoder, ResNetConfig
from holdfast.trainer.objectives import AugmentationAdversarialConfig, ImageBatch
from holdfast.trainer.objectives.contrastive.channel_views import CameraViews, photographed
from reproduce.arms import Arm
from reproduce.augmentation_adversarial.arms import WEIGHT
from reproduce.augmentation_adversarial.scales import SpeechScale
from reproduce.embeddings import embed, neighbours_answers
from reproduce.kept_results import Figures, read, written
from reproduce.markdown import grid, percent
from reproduce.verdicts import Finding

AUGMENTED, ADVERSARIAL = "photographs-augmented", "photographs-adversarial"
TITLES = {ADVERSARIAL: "photographs: augmentation, adversary", AUGMENTED: "photographs: augmentation"}
CAMERAS = 3
VOTE = VoteParameters(k=15)
VIEWS = CameraViews()


def photograph_arms(scale: SpeechScale, out: Path, data_dir: Path | None) -> list[Arm]:
    """Both arms, of one seed."""

    def arm(name: str, weight: float) -> Arm:
        objective = AugmentationAdversarialConfig(weight=weight, views=VIEWS)
        stage = Stage(name, objective, scale.steps, batch_size=scale.photographs, learning_rate=1e-3)
        encoder: ResNetConfig = replace(scale.encoder, image_size=32)
        config = TrainConfig(encoder, (stage,), out / name, data="cifar10", data_dir=data_dir, estimate_cost=False)
        return Arm(name, TITLES[name], config)

    return [arm(ADVERSARIAL, WEIGHT), arm(AUGMENTED, 0.0)]


def by_other_cameras(images: Pixels, seed: int) -> Pixels:
    """Images uint8 [N, H, W, 3] as other cameras would have taken them, rounded to grey levels."""
    generator = torch.Generator().manual_seed(seed)
    whole = ImageBatch.whole(torch.from_numpy(np.ascontiguousarray(images)), torch.zeros(len(images), dtype=torch.long))
    taken = photographed(VIEWS, whole.pixels(), generator)
    found: Pixels = (taken * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return found


def measure_flips(encoder: ImageEncoder, train: LabelledImages, test: LabelledImages) -> Figures:
    """Which test images are answered rightly, and which otherwise by another camera: a bit for each image and camera."""
    bank, classes = embed(encoder, train.images), len(train.class_names)

    def answers(images: Pixels) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return neighbours_answers(bank, train.labels, embed(encoder, images), classes, VOTE)

    clean = answers(test.images)
    flips = [answers(by_other_cameras(test.images, camera)) != clean for camera in range(CAMERAS)]
    return {"right": written(clean == test.labels), "flips": written(np.concatenate(flips))}


def photograph_findings(measured: dict[str, Figures]) -> list[Finding]:
    """The claim, once both arms are measured."""
    if not {AUGMENTED, ADVERSARIAL} <= measured.keys():
        return []
    without, with_it = (_counted(read(measured[name]["flips"])) for name in (AUGMENTED, ADVERSARIAL))
    images = len(without.trial)
    return [
        Finding(
            "On photographs, fewer answers change with the camera",
            "-",
            f"flips of the kNN, paired over {images:,} test images and cameras, of one training each",
            difference(without, with_it),
        )
    ]


def _counted(bits: Bits) -> Counted:
    return Counted(bits, np.ones_like(bits))


def photographs_markdown(measured: dict[str, Figures]) -> str:
    """Accuracy and flips of each arm, to paste into a page."""
    rows = []
    for name, figures in measured.items():
        rates = [Rate(int(bits.sum()), len(bits)) for bits in (read(figures["right"]), read(figures["flips"]))]
        rows.append((TITLES[name], *map(percent, rates)))
    return grid(("training", "right", "flips by camera"), rows)


def chosen(test: LabelledImages, count: int) -> LabelledImages:
    """The first so many test images."""
    return test.take(range(min(count, len(test))))
