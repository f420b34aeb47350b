"""The whole demo with a few steps of training: every part real, only the encoders are poor ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo import cli, pipeline
from demo.rows import choose
from holdfast.bundle import Bundle
from holdfast.console import Console
from holdfast.trainer.presets import PRESETS

STEPS, IMAGES = 2, 8
ENTRIES = pipeline.ENTRIES[1:]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the supervised entry, whose graphs take seconds to trace, and with narrow encoders and few steps in each stage.

    Every image may be probed, until two have been.
    """

    def shortened(name: str):
        text, preset = PRESETS[name]
        stages = tuple(replace(stage, steps=STEPS, batch_size=32) for stage in preset.stages)
        return text, replace(preset, encoder=replace(preset.encoder, width=8, dim=16), stages=stages)

    monkeypatch.setattr(cli, "PROBES", 2)
    monkeypatch.setattr(cli, "PROBE_RATE", "1")
    monkeypatch.setattr(cli, "ENTRIES", ENTRIES)
    monkeypatch.setattr(pipeline, "PRESETS", {entry.preset: shortened(entry.preset) for entry in ENTRIES})


def test_the_demo_trains_serves_attacks_and_draws(hasty: None, tmp_path: Path) -> None:
    console = Console(record=True, width=120, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        cli.run(tmp_path, IMAGES, fresh=False, console=console)
        said = console.export_text()
    for words in ("self-supervised", "ssat", "every answer over gRPC", "holdfast_probe_total", "picture"):
        assert words in said
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.width == 1600
    for entry in ENTRIES:
        manifest = Bundle.open(tmp_path / entry.name).manifest
        assert manifest.accuracy is not None
        assert manifest.accuracy.images == IMAGES
        assert manifest.index is not None
        assert manifest.index.exemplars == 1197
        assert manifest.calibration is not None


class Judged:
    """As much of an evaluation as `choose` looks at."""

    def __init__(self, truth: list[int], answered: list[int], fooled: list[bool]) -> None:
        self.labels = np.array(truth)
        self.outcome = self
        self.clean_labels = np.array(answered)
        self.success = np.array(fooled)


@pytest.mark.parametrize(
    ("truth", "answered", "fooled", "expected"),
    [
        ([0, 0, 1, 2], [0, 0, 1, 2], [False] * 4, [0, 2, 3, 1]),  # a row of each class first
        ([0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6], [False] * 6 + [True], [0, 1, 2, 3, 4, 6]),  # one fooled, at least
        ([0, 1], [0, 1], [True, True], [0, 1]),
        ([0, 1], [1, 0], [False, False], []),  # wrong when clean: neither held nor fooled
    ],
)
def test_the_picture_shows_both_kinds_in_proportion(truth, answered, fooled, expected) -> None:
    assert choose(Judged(truth, answered, fooled)) == expected  # type: ignore[arg-type]
