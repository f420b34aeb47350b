"""results.json: everything that was measured, image by image, with what it was measured on."""

import json
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

import torch

from holdfast.files import write_atomically
from holdfast.intervals import Rate
from holdfast.revision import commit
from holdfast.trainer.state.record import plain
from reproduce.ssat.claims import Verdict
from reproduce.ssat.results import Attacked
from reproduce.ssat.tables import TableResults, sentences


def write_results(path: Path, result: TableResults, command: str, data_sha256: str) -> None:
    """Write it, all of it or nothing."""
    kept: dict[str, Any] = {
        "scale": result.scale.name,
        "command": command,
        "commit": commit(),
        "torch": torch.__version__,
        "data": {"name": result.scale.data, "sha256": data_sha256},
        "images": {"test": result.test_images, "attacked": result.attacked_images},
        "rows": [_row(result, number) for number in range(len(result.runs))],
        "verdicts": [_verdict(verdict) for verdict in result.verdicts],
        "plainly": sentences(result),
    }
    write_atomically(path, (json.dumps(kept, indent=2, allow_nan=False) + "\n").encode())


def _verdict(verdict: Verdict) -> dict[str, Any]:
    claim, found = verdict.claim, verdict.difference
    return {
        "claim": claim.text,
        "of_the_paper": claim.of_the_paper,
        "measure": claim.measure,
        "row": claim.row,
        "than": claim.than,
        "margin": claim.margin,
        "attack": verdict.attack,
        "epsilon": verdict.ball.epsilon,
        "difference": None if isnan(found.estimate) else found.estimate,
        "interval": [found.low, found.high],
        "verdict": verdict.word,
    }


def _row(result: TableResults, number: int) -> dict[str, Any]:
    run = result.runs[number]
    row = result.rows[run.name]
    return {
        "name": run.name,
        "title": run.title,
        "published": asdict(run.published) if run.published else None,
        "config": plain(run.config),
        "training_seconds": result.seconds[run.name],
        "clean": _rate(row.clean.rate) | {"right": row.clean.right},
        "attacks": [_attacked(attacked) for attacked in row.attacked],
    }


def _attacked(attacked: Attacked) -> dict[str, Any]:
    rates = {name: _rate(getattr(attacked, name)) for name in ("clean", "dsr", "robust")}
    return asdict(attacked) | rates


def _rate(rate: Rate) -> dict[str, Any]:
    value = rate.value if rate.trials else None
    return {"value": value, "successes": rate.successes, "trials": rate.trials, "interval": rate.interval}
