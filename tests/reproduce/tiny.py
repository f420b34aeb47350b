"""The table at a size that takes seconds, and what tests of it share."""

from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.attacks.attack import PGDAttack
from holdfast.attacks.losses import Guided, Margin, Targeted
from holdfast.attacks.search.suite import AttackSuite
from holdfast.bundle.threat_model import ThreatModel
from holdfast.console import Console
from holdfast.data import Splits
from holdfast.trainer.config import Stage
from holdfast.trainer.encoders import ResNetConfig
from holdfast.trainer.objectives import (
    AmdimObjectiveConfig,
    DeaclConfig,
    SsatConfig,
    SupervisedAdversarialConfig,
    SupervisedConfig,
)
from holdfast.trainer.state import checkpoint
from reproduce.kept_results import written
from reproduce.ssat.claims import Row, claims_of, verdicts_of
from reproduce.ssat.results import ATTACKS, Attacked, Clean
from reproduce.ssat.rows import table_rows
from reproduce.ssat.scales import BALLS, SMALL, TableScale
from reproduce.ssat.tables import TableResults
from reproduce.ssat.training import train_row

TINY = TableScale(
    name="tiny",
    about="for tests",
    encoder=ResNetConfig(4, 1, 8),
    amdim=Stage("amdim", AmdimObjectiveConfig(), steps=4, batch_size=32),
    supervised=Stage("supervised", SupervisedConfig(), steps=12, batch_size=64),
    adversarial=Stage("adversarial", SupervisedAdversarialConfig(steps=1), steps=3, batch_size=32),
    guided=Stage(
        "ssat",
        SsatConfig(arm="guided", epsilon=0.3, steps=2, step_size=0.2, refresh=2, guides=10, k=1),
        steps=4,
        batch_size=32,
        learning_rate=1e-3,
        schedule="constant",
    ),
    label_free=Stage("ssat", SsatConfig(steps=1), steps=2, batch_size=32),
    deacl=Stage("deacl", DeaclConfig(steps=1), steps=2, batch_size=32),
    checkpoints=(2, 4),
    data="digits",
    k=5,
    balls=(ThreatModel("linf", 16 / 255), ThreatModel("linf", 48 / 255)),
    images=20,
    papers_attack=AttackSuite((PGDAttack(Guided(10), steps=2),), 16),
    ladder=AttackSuite((PGDAttack(Margin(0.05), 2), PGDAttack(Margin(0.2), 2), PGDAttack(Targeted(0.05, 1), 2)), 16),
)


def tensors(directory: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(directory).tensors


def same(one: Path, other: Path) -> bool:
    first, second = tensors(one), tensors(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def count(monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> list[object]:
    real, calls = getattr(target, name), []

    def called(*arguments, **options):
        calls.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr(target, name, called)
    return calls


def trained(name: str, out: Path, splits: Splits, scale: TableScale = TINY, source: Path | None = None) -> Path:
    run = next(run for run in table_rows(scale, out) if run.name == name)
    train_row(run, splits, Console(quiet=True), source=source)
    return run.directory


PUBLISHED = {
    "supervised": (0.92, 0.19, 0.19),
    "supervised-adversarial": (0.701, 0.915, 0.775),
    "amdim": (0.846, 0.519, 0.278),
    "ssat-guided-50": (0.834, 0.629, 0.390),
    "ssat-guided-100": (0.80, 0.74, 0.55),
    "ssat-guided-200": (0.77, 0.82, 0.66),
    "ssat-guided-400": (0.75, 0.86, 0.71),
    "ssat-label-free": (0.76, 0.80, 0.60),
    "deacl": (0.72, 0.83, 0.68),
}


def imagined(images: int, under_b: float) -> TableResults:
    """The published figures under (a), each image for itself; under (b) that share of what holds under (a)."""
    random = np.random.default_rng(3)
    difficulty = random.random(images)
    rows = {}
    for name, (clean, *dsrs) in PUBLISHED.items():
        right = difficulty < clean
        attacked = []
        for ball, dsr in zip(BALLS, dsrs, strict=True):
            held = right & (random.random(images) < dsr)
            for attack, kept in zip(ATTACKS, (held, held & (random.random(images) < under_b)), strict=True):
                bits = written(right), written(kept)
                attacked.append(Attacked(attack, "steps", ball.norm, ball.epsilon, *bits, images, {}))
        rows[name] = Row(Clean(written(right)), tuple(attacked))
    runs = table_rows(SMALL, Path("out"))
    return TableResults(SMALL, runs, rows, dict.fromkeys(rows, 60.0), verdicts_of(claims_of(SMALL.checkpoints), rows, BALLS))
