"""Tables for the console: what a run is going to do and what it may cost, before it; and how fast it was, after it."""

from collections.abc import Sequence

from rich.table import Table

from holdfast.console import property_table
from holdfast.data.streaming.training import TrainingSplits
from holdfast.model.resolution import describe_resolution
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.cost.dry_run import DryRun, StageDryRun
from holdfast.trainer.cost.encoder_cost import encoder_cost
from holdfast.trainer.encoders import build_encoder
from holdfast.trainer.export.bundle import describe_postprocessing, describe_stage
from holdfast.trainer.loop.device import compute_dtype, device_of, precision_of
from holdfast.trainer.loop.processes import count
from holdfast.trainer.loop.recorder import Throughput


def describe_run(config: TrainConfig, splits: TrainingSplits) -> Table:
    """What is going to happen, and how large it is."""
    device = device_of(config)
    precision = str(compute_dtype(precision_of(config, device))).removeprefix("torch.")
    table = property_table()
    table.add_row("data", _describe_data(config, splits))
    if splits.train.class_names:
        table.add_row("held out", _describe_held_out(splits))
    table.add_row("encoder", f"{config.encoder}\n{encoder_cost(build_encoder(config.encoder))}")
    for number, stage in enumerate(config.stages):
        epochs = stage.steps * stage.batch_size / len(splits.learned_from)
        passes = f" ({epochs:.1f} epochs)" if stage.chunk is None else ""
        described = f"{describe_stage(stage)}{passes}, learning rate {stage.learning_rate:g}"
        table.add_row(f"stage {number}", described)
    if after := describe_postprocessing(config):
        table.add_row("after it", ", ".join(after))
    table.add_row("threat model", str(config.threat))
    processes = f"{count()} processes of " if count() > 1 else ""
    table.add_row("on", f"{device.type}, {processes}{config.threads} threads, {precision}, seed {config.seed}")
    table.add_row("to", str(config.out))
    return table


def _describe_data(config: TrainConfig, splits: TrainingSplits) -> str:
    if not splits.train.class_names:
        return f"{config.data}: {len(splits.learned_from):,} images without classes"
    described = f"{config.data}: {len(splits.learned_from):,} images of {len(splits.train.class_names)} classes"
    return f"{described}, {len(splits.train):,} of them with a label" if splits.unlabelled is not None else described


def _describe_held_out(splits: TrainingSplits) -> str:
    calibration, test = len(splits.calibration), len(splits.test)
    described = f"{calibration:,} images to calibrate credibility, {test:,} to test"
    if calibration == 0:
        return f"{described}\nwarning: without any to calibrate, answers will have no credibility and the server never abstains"
    warning = describe_resolution(calibration)
    return f"{described}\nwarning: {warning}" if warning else described


def describe_cost(found: DryRun) -> Table:
    """What each stage costs from its first step to its last, against the measured roofline of the device."""
    table = Table(
        *("stage", "FLOP per image", "FLOP", "bytes", "by FLOP", "by bytes", "expected", "state"),
        caption=f"A large matrix product and a large copy reach {found.roofline} here: by FLOP and by bytes no stage is"
        " quicker than this. Bytes are at most, as if no two operators were fused. Expected is by a few real steps, not"
        " compiled, or by one on a few images where batches take long.",
        pad_edge=False,
    )
    for column in table.columns:
        column.overflow = "fold"
        column.no_wrap = column.header in {"stage", "expected"}  # whole words, within the 80 columns of a terminal
    for each in found.stages:
        steps = each.stage.steps
        whole = each.step * steps
        table.add_row(
            each.stage.name,
            format_amount(each.step.operations / each.images),
            format_amount(whole.operations),
            format_amount(whole.bytes, "B"),
            *(format_duration(seconds) for seconds in found.roofline.lower_bounds(whole)),
            "not timed" if each.seconds is None else format_duration(each.seconds * steps),
            f"{each.state / 2**20:.1f} MiB",
        )
    return table


def describe_throughput(throughputs: Sequence[Throughput], found: DryRun | None) -> Table:
    """How fast this invocation was, and which share of the roofline its operations made use of (MFU)."""
    table = Table("stage", "images/s", "TFLOP/s", "model FLOP utilisation")
    known: dict[str, StageDryRun] = {each.stage.name: each for each in found.stages} if found else {}
    for throughput in throughputs:
        rate = throughput.images / throughput.seconds
        cells = ["not counted", ""]
        if found and throughput.stage in known:
            stage = known[throughput.stage]
            speed = rate * stage.step.operations / stage.images
            cells = [f"{speed / 1e12:.3g}", f"{speed / found.roofline.operations:.1%}"]
        table.add_row(throughput.stage, f"{rate:,.0f}", *cells)
    return table


def format_amount(number: float, unit: str = "") -> str:
    """Three digits and a prefix: 16.7 G, 137 P."""
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}".rstrip()


def format_duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best: 38 s, 9.1 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
