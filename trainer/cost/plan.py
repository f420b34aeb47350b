"""What a run is going to do and what it may cost, told before it begins; and what became of it, told after."""

from collections.abc import Sequence

from rich.table import Table

from holdfast.data import Splits
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.cost.dry_run import Rehearsal, Rehearsed
from holdfast.trainer.encoders import build_encoder, cost_of
from holdfast.trainer.export.bundle import told, told_after
from holdfast.trainer.loop.device import device_of, multiplied, precision_of
from holdfast.trainer.train import Pace


def plan(config: TrainConfig, splits: Splits) -> Table:
    """What is going to happen, and how large it is."""
    device = device_of(config)
    precision = str(multiplied(precision_of(config, device))).removeprefix("torch.")
    table = Table("", show_header=False)
    table.add_row("data", f"{config.data}: {len(splits.train):,} images of {len(splits.train.class_names)} classes")
    table.add_row("encoder", f"{config.encoder}\n{cost_of(build_encoder(config.encoder))}")
    for number, stage in enumerate(config.stages):
        epochs = stage.steps * stage.batch_size / len(splits.train)
        table.add_row(f"stage {number}", f"{told(stage)} ({epochs:.1f} epochs), learning rate {stage.learning_rate:g}")
    if after := told_after(config):
        table.add_row("after it", ", ".join(after))
    table.add_row("threat model", str(config.threat))
    table.add_row("on", f"{device.type}, {config.threads} threads, {precision}, seed {config.seed}")
    table.add_row("to", str(config.out))
    return table


def outlook(rehearsal: Rehearsal) -> Table:
    """What each stage costs from its first step to its last, against what was measured that the device can do."""
    table = Table(
        *("stage", "FLOP per image", "FLOP", "bytes", "by FLOP", "by bytes", "expected", "state"),
        caption=f"A large matrix product and a large copy reach {rehearsal.ceilings} here: by FLOP and by bytes no stage is"
        " quicker than this. Bytes are at most, as if no two operators were fused. Expected is by a few real steps,"
        " not compiled, if these take seconds.",
    )
    for found in rehearsal.stages:
        steps = found.stage.steps
        whole = found.step * steps
        table.add_row(
            found.stage.name,
            amount(found.step.operations / found.images),
            amount(whole.operations),
            amount(whole.bytes, "B"),
            *(duration(seconds) for seconds in rehearsal.ceilings.least(whole)),
            "not tried" if found.seconds is None else duration(found.seconds * steps),
            f"{found.state / 2**20:.1f} MiB",
        )
    return table


def achieved(paces: Sequence[Pace], rehearsal: Rehearsal | None) -> Table:
    """How fast this invocation was, and which share of the measured ceiling its operations made use of (MFU)."""
    table = Table("stage", "images/s", "TFLOP/s", "model FLOP utilisation")
    known: dict[str, Rehearsed] = {found.stage.name: found for found in rehearsal.stages} if rehearsal else {}
    for pace in paces:
        rate = pace.images / pace.seconds
        cells = ["not counted", ""]
        if rehearsal and pace.stage in known:
            found = known[pace.stage]
            speed = rate * found.step.operations / found.images
            cells = [f"{speed / 1e12:.3g}", f"{speed / rehearsal.ceilings.operations:.1%}"]
        table.add_row(pace.stage, f"{rate:,.0f}", *cells)
    return table


def amount(number: float, unit: str = "") -> str:
    """Three digits and a prefix: 16.7 G, 137 P."""
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}".rstrip()


def duration(seconds: float) -> str:
    """As a person would say it: 38 s, 9.1 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
