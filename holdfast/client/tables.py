"""Answers and models as a person reads them, and as a program does."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from holdfast.client.errors import ClientError
from holdfast.client.messages import Outcome
from holdfast.client.results import Answer, Certificates, ModelInfo, Neighbour, Smoothing
from holdfast.console import property_table


def answers_view(
    paths: Sequence[Path], outcomes: Sequence[Outcome], *, neighbours: bool, certificates: bool = False, smoothing: bool = False
) -> Group:
    """A row for each image that was answered, then a line for each that was not; fits a terminal of 80 columns."""
    table = Table()
    for name in ("image", "label"):
        table.add_column(name, overflow="fold")
    for name in ("share", "credibility", "margin"):
        table.add_column(name, justify="right", no_wrap=True)
    if certificates:
        table.add_column("stands for", overflow="fold")
    if smoothing:
        table.add_column("with noise", overflow="fold")
    if neighbours:
        table.add_column("nearest exemplars: label #id (similarity)", ratio=1)
    refused: list[Text] = []
    for path, outcome in zip(paths, outcomes, strict=True):
        if isinstance(outcome, ClientError):
            refused.append(Text(f"{path}: {outcome}", style="red"))
            continue
        doubt = "yellow" if outcome.abstain else ""
        cells = [
            Text(path.name),
            Text(outcome.label, style="bold"),
            Text(f"{outcome.probability:.0%}"),
            Text(_number(outcome.credibility, ".3f") + (" abstain" if outcome.abstain else ""), style=doubt),
            Text(f"{outcome.soft_margin:+.2f}", style="yellow" if outcome.soft_margin < 0 else ""),
        ]
        cells += [Text(_certified(outcome.certificates))] if certificates else []
        cells += [Text(_smoothed(outcome.smoothing))] if smoothing else []
        table.add_row(*cells, *([_row_of(outcome.neighbours)] if neighbours else []))
    return Group(*([table] if table.row_count else []), *refused)


def model_table(info: ModelInfo) -> Table:
    """The model, one property a row."""
    measured = "not measured"
    if info.accuracy is not None:
        a = info.accuracy
        figures = f"clean {a.clean:.1%}, robust {a.robust:.1%}"
        measured = f"{figures} at {a.norm} {_levels(a.epsilon)} by {a.attack}, {a.images} images"
    height, width, channels = info.input_shape
    weighting = f"exponential, temperature {info.temperature:g}" if info.weighting == "exponential" else info.weighting
    rows = {
        "model": f"{info.name}, made {info.created}",
        "encoder": f"sha256 {info.encoder_sha256[:16]}, {height}x{width}x{channels} -> {info.embedding_dim}",
        "takes": "recordings" if info.input_kind == "speech" else "images",
        "classes": ", ".join(info.class_names),
        "exemplars": f"{info.exemplars:,}",
        "vote": f"k = {info.k}, {weighting}",
        "abstains below": f"credibility {info.abstain_below:.3f}",
        "hardened against": _hardening(info),
        "accuracy": measured,
        "one call": f"{info.images_per_call} {_limits(info)}",
    }
    if info.imported_from:
        rows["imported from"] = info.imported_from
    table = property_table()
    for name, value in rows.items():
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def _hardening(info: ModelInfo) -> str:
    if not info.norm:
        return "nothing"
    ball = f"{info.norm} {_levels(info.epsilon)}"
    return f"nothing: nobody hardened it; attacks are tried within {ball}" if info.hardened is False else ball


def _limits(info: ModelInfo) -> str:
    """What one call and each thing in it may have."""
    if info.input_kind == "speech":
        each = f"{info.seconds_per_recording:g} s and {info.bytes_per_recording:,} bytes a recording"
        return f"recordings, {info.message_bytes:,} bytes, {each}"
    return f"images, {info.message_bytes:,} bytes, {info.pixels_per_image:,} pixels an image"


def answer_as_json(path: Path, outcome: Outcome) -> dict[str, Any]:
    """One image's outcome; numbers that are not known are null."""
    if isinstance(outcome, ClientError):
        return {"image": str(path), "error": str(outcome), "code": outcome.code.name}
    return {"image": str(path), **_answer_fields(outcome)}


def model_as_json(info: ModelInfo) -> dict[str, Any]:
    """The model's fields, by the names of ModelInfo."""
    return asdict(info)


def _answer_fields(answer: Answer) -> dict[str, Any]:
    return {
        "label": answer.label,
        "index": answer.index,
        "probability": round(answer.probability, 6),
        "probabilities": [round(float(p), 6) for p in answer.probabilities],
        "credibility": _known(answer.credibility),
        "confidence": _known(answer.confidence),
        "abstain": answer.abstain,
        "soft_margin": _known(answer.soft_margin),
        "kth_distance": _known(answer.kth_distance),
        "kth_distance_p_value": _known(answer.kth_distance_p_value),
        "softmax_response": _known(answer.softmax_response),
        "certificates": None if answer.certificates is None else asdict(answer.certificates),
        "smoothing": None if answer.smoothing is None else asdict(answer.smoothing),
        "neighbours": [asdict(n) for n in answer.neighbours],
    }


def _row_of(neighbours: Sequence[Neighbour]) -> Text:
    return Text("  ".join(f"{n.label} #{n.id} ({n.similarity:.2f})" + (f" {n.source}" if n.source else "") for n in neighbours))


def _certified(certificates: Certificates | None) -> str:
    if certificates is None or certificates.poison_tolerance is None:
        return "-"
    return f"{certificates.poison_tolerance} inserted, a shift of {certificates.feature_shift or 0:.3f}"


def _smoothed(smoothing: Smoothing | None) -> str:
    if smoothing is None or smoothing.radius is None:
        return "abstains" if smoothing else "-"
    return f"{smoothing.label} within {smoothing.radius:.3f} of L2"


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _levels(epsilon: float) -> str:
    """An epsilon as people write it: 8/255, or .5 where it is no whole number of grey levels."""
    levels = epsilon * 255
    return f"{round(levels)}/255" if math.isclose(levels, round(levels), abs_tol=1e-3) else f"{epsilon:g}"
