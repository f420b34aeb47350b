"""The planted-adversary test as a benchmark: how often attacks find what surely exists.

python -m bench.planted                      two untrained encoders
python -m bench.planted --bundle DIR         the encoder of a bundle, on its own test images
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from rich.table import Table

from bench.harness.report import run_benchmark
from holdfast.attacks.adaptive import AdaptiveAttack
from holdfast.attacks.losses import Counts, TopK
from holdfast.attacks.noise import NoiseAttack
from holdfast.attacks.onnx_embedding import OnnxEmbedding
from holdfast.attacks.planted import PlantedResult, planted_adversary
from holdfast.attacks.quantise import to_pixels
from holdfast.attacks.victim import Embed
from holdfast.bundle.reader import Bundle
from holdfast.bundle.threat_model import Norm, ThreatModel
from holdfast.console import Console, Progress
from holdfast.evaluation import unseen_images
from holdfast.intervals import Rate
from holdfast.model.preprocess import InputContract, Pixels, fit
from holdfast.trainer.encoders import AmdimConfig, EncoderConfig, ResNetConfig, build_encoder
from holdfast.tyro_flags import Epsilon

UNTRAINED: dict[str, EncoderConfig] = {
    "AMDIM, untrained": AmdimConfig(width=8, n_rkhs=64, depth=1),
    "ResNet, untrained": ResNetConfig(width=8, dim=64),
}
LEAST_FOUND = 0.95


@dataclass(frozen=True)
class PlantedBench:
    """Plant an adversary beside each image and count which attacks find it.

    Ours has to find at least 95 %, random noise of the same size none. Attacks on the vote itself are shown beside them:
    their gradients are masked, and what they do not find is no evidence of robustness.
    """

    bundle: Path | None = None
    """A bundle whose encoder is attacked, on test images of its data set; without, untrained encoders."""

    cases: int = 110
    """Images beside which an adversary is planted; where plant and crowd have one embedding there is no case."""

    norm: Norm = "linf"
    """Norm of the ball."""

    epsilon: Epsilon = 8 / 255
    """Its radius, in pixels of [0, 1]."""

    k: int = 5
    """Neighbours that vote, and copies of each plant."""

    steps: int = 40
    """Gradients per restart."""

    seed: int = 0
    """Of crowds, plants and random starts."""

    controls: bool = True
    """Also run the attacks on vote counts and on the k nearest."""

    threads: int = 1
    """Of torch and ONNX Runtime."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 1 where the attack finds too few or noise finds a plant."""
    config = tyro.cli(PlantedBench, args=arguments, prog="python -m bench.planted")
    console = Console()
    torch.set_num_threads(config.threads)

    def measure() -> int:
        passed = [run(config, name, embed, images, console) for name, embed, images in encoders(config)]
        return 0 if all(passed) else 1

    return run_benchmark(measure)


def run(config: PlantedBench, name: str, embed: Embed, images: Pixels, console: Console) -> bool:
    """Measure every attack on one encoder, print the table, and say whether it found enough."""
    threat = ThreatModel(config.norm, config.epsilon)
    ours, noise = AdaptiveAttack(steps=config.steps), NoiseAttack()
    attacks: dict[str, AdaptiveAttack | NoiseAttack] = {"adaptive attack": ours, "random noise": noise}
    if config.controls:
        for control in (Counts(config.k), TopK(config.k)):
            attacks[f"PGD on {control} (masked)"] = AdaptiveAttack(losses=(control,), steps=config.steps)
    table = Table("attack", "found", "cases", "void", "seconds", title=f"planted adversaries, {name}, {threat}")
    results: dict[str, PlantedResult] = {}
    for title, attack in attacks.items():
        began = time.monotonic()
        with Progress(console=console, transient=True) as progress:
            result = planted_adversary(embed, images, threat, attack, k=config.k, seed=config.seed, progress=progress)
        results[title] = result
        rate = Rate(int(result.found.sum()), result.cases)
        table.add_row(title, str(rate), str(result.cases), str(result.void), f"{time.monotonic() - began:.1f}")
    console.print(table)
    return results["adaptive attack"].rate >= LEAST_FOUND and results["random noise"].rate == 0


def encoders(config: PlantedBench) -> Iterator[tuple[str, Embed, Pixels]]:
    """What is attacked: a name, an embedding, and uint8 images [cases, H, W, 3]."""
    if config.bundle is not None:
        bundle = Bundle.open_encoder(config.bundle, threads=config.threads)
        yield bundle.manifest.name, OnnxEmbedding(bundle), unseen_images(bundle.manifest).images[: config.cases]
        return
    images = shapes(config.cases, config.seed)
    for name, encoder in UNTRAINED.items():
        yield name, untrained(encoder, images), images


def untrained(config: EncoderConfig, images: Pixels) -> Embed:
    """A random encoder whose BatchNorm has seen `images`: without, all embeddings would lie in one narrow cone."""
    torch.manual_seed(0)
    encoder = build_encoder(config)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        encoder.train()(to_pixels(images[:64]))
    encoder.eval().requires_grad_(requires_grad=False)
    return lambda pixels: F.normalize(encoder(pixels), dim=1)


def shapes(count: int, seed: int) -> Pixels:
    """Random blurred shapes, uint8 [count, 32, 32, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    contract = InputContract(height=32, width=32)
    return np.stack([fit(image, contract) for image in coarse])


if __name__ == "__main__":
    sys.exit(main())
