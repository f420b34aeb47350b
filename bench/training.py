"""Images per second of adversarial training, against a bare loop of the same passes.

The trainer draws batches, augments, attacks by PGD-5, clips, checks for NaN, logs and writes checkpoints. The bare loop has
its tensors ready and does nothing but pass them: five times forwards and back to the pixels, once forwards and back to the
weights, one step of Adam; same encoder, same batch, same precision, same threads or the same GPU. Both run in one process, in
turns, and each pair gives one ratio.

    python -m bench.training [--width 48] [--batch 256] [--steps 10] [--pairs 8] [--json FILE]
    python -m bench.training --device cuda --encoder resnet18 --width 64 --batch 512 --steps 100
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness.environment import add_device_flag, restart_with_one_thread
from bench.harness.report import Spread, Target, run_benchmark, show, write_json
from holdfast.flags import whole_number

if TYPE_CHECKING:
    from holdfast.data import Splits
    from holdfast.model.encoder.device import Device
    from holdfast.trainer.config import TrainConfig
    from holdfast.trainer.encoders import EncoderConfig

BOUND = 0.85
PGD_STEPS = 5
EPSILON = 8 / 255


def measure(
    encoder: "EncoderConfig", batch: int, steps: int, pairs: int, device: "Device" = "cpu"
) -> tuple[Spread, Spread, Spread]:
    """Images per second of the trainer and of the bare loop, and their ratio pair by pair."""
    from holdfast.console import track  # noqa: PLC0415 - after main has set the environment
    from holdfast.trainer.train import train  # noqa: PLC0415

    splits = noisy_images(20 * batch)
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        config = training_config(Path(folder), encoder, batch, steps, device)
        for i in track(range(pairs + 1), description="training"):
            if i % 2:
                bare.append(bare_loop(config, splits))
            ours.append(train(config, splits).seconds)
            if not i % 2:
                bare.append(bare_loop(config, splits))
    images = steps * batch
    ratios = [b / o for o, b in zip(ours, bare, strict=True)][1:]  # the first warms up
    return Spread.of([images / s for s in ours[1:]]), Spread.of([images / s for s in bare[1:]]), Spread.of(ratios)


def bare_loop(config: "TrainConfig", splits: "Splits") -> float:
    """Seconds that the same number of steps takes when nothing but the passes is done."""
    import torch  # noqa: PLC0415
    import torch.nn.functional as F  # noqa: PLC0415

    from holdfast.attacks.search.threads import one_thread_each  # noqa: PLC0415
    from holdfast.trainer.cost.roofline import seconds_of  # noqa: PLC0415
    from holdfast.trainer.loop.device import device_of, fast_kernels, precision_of  # noqa: PLC0415
    from holdfast.trainer.loop.networks import build_networks  # noqa: PLC0415

    stage, device = config.stages[0], device_of(config)
    encoder, _ = build_networks(config, splits.train, device)
    network = torch.nn.Sequential(encoder, torch.nn.Linear(encoder.dim, 10)).to(device)
    optimiser = torch.optim.Adam(network.parameters(), stage.learning_rate, fused=device.type == "cuda")
    first = slice(0, stage.batch_size)
    clean = torch.from_numpy(splits.train.images[first]).to(device).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(splits.train.labels[first]).to(device)

    def pass_all() -> None:
        for _ in range(stage.steps):
            network.eval().requires_grad_(requires_grad=False)
            attacked = clean
            for _ in range(PGD_STEPS):
                attacked = attacked.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(F.cross_entropy(network(attacked).float(), labels), attacked)
                attacked = (clean + (attacked + EPSILON / 4 * gradient.sign() - clean).clamp(-EPSILON, EPSILON)).clamp(0, 1)
            network.train().requires_grad_(requires_grad=True)
            optimiser.zero_grad()
            F.cross_entropy(network(attacked.detach()).float(), labels).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    with one_thread_each(), fast_kernels(device), precision_of(config, device):
        return seconds_of(pass_all, device, times=1)


def encoder_named(name: str, width: int) -> "EncoderConfig":
    """AMDIM's encoder, or ResNet-18 in the shape that is usual for CIFAR."""
    from holdfast.trainer.encoders import AmdimConfig, ResNetConfig  # noqa: PLC0415

    if name == "amdim":
        return AmdimConfig(width, 128, 1, activation="silu")
    return ResNetConfig(width, blocks=2, dim=64, activation="silu", stages=4)


def training_config(folder: Path, encoder: "EncoderConfig", batch: int, steps: int, device: "Device" = "cpu") -> "TrainConfig":
    """A run of adversarial training on one CPU thread or a GPU, by PGD of five steps."""
    from holdfast.trainer.config import Stage, TrainConfig  # noqa: PLC0415
    from holdfast.trainer.objectives import SupervisedAdversarialConfig  # noqa: PLC0415

    objective = SupervisedAdversarialConfig(epsilon=EPSILON, steps=PGD_STEPS, step_size=EPSILON / 4)
    stage = Stage("adversarial", objective, steps=steps, batch_size=batch)
    return TrainConfig(encoder, (stage,), out=folder, device=device)


def noisy_images(images: int) -> "Splits":
    """As many noisy images as CIFAR's are large: what a convolution costs does not depend on what it sees."""
    import numpy as np  # noqa: PLC0415

    from holdfast.data import LabelledImages, Splits  # noqa: PLC0415

    random = np.random.default_rng(0)

    def some(count: int) -> LabelledImages:
        pixels = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        names = tuple(f"class {label}" for label in range(10))
        return LabelledImages(pixels, np.arange(count) % 10, names, [str(i) for i in range(count)])

    return Splits(some(images), some(10), some(10))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of every benchmark of the trainer."""
    parser.add_argument("--width", type=whole_number(1), default=48, help="of the encoder (default: %(default)s)")
    parser.add_argument("--batch", type=whole_number(1), default=256, help="images per step (default: %(default)s)")
    parser.add_argument("--steps", type=whole_number(1), default=10, help="steps in each half of a pair (default: %(default)s)")
    parser.add_argument("--pairs", type=whole_number(2), default=8, help="measured pairs (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_flags(parser)
    parser.add_argument("--encoder", choices=("amdim", "resnet18"), default="amdim", help="trained (default: %(default)s)")
    add_device_flag(parser)
    options = parser.parse_args()
    restart_with_one_thread("bench.training")
    encoder = encoder_named(options.encoder, options.width)
    ours, bare, ratio = measure(encoder, options.batch, options.steps, options.pairs, options.device)
    target = Target("trainer / bare loop", ratio.median, BOUND, at_least=True)
    show(
        f"PGD-{PGD_STEPS} adversarial training, {options.encoder} width {options.width}, batch {options.batch},"
        f" {options.device}, one thread",
        ["", "images per second: median (quartiles)"],
        [["python -m trainer", str(ours)], ["the passes alone", str(bare)], ["ratio, pair by pair", str(ratio)]],
        target,
    )
    if options.json:
        values = {"trainer": ours.median, "bare": bare.median, "ratio_low": ratio.low, "ratio_high": ratio.high}
        settings = {"encoder": options.encoder, "width": options.width, "batch": options.batch}
        write_json(options.json, "training", {**values, **settings}, target=target, device=options.device)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
