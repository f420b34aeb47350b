"""What the model answers, kept on disk: it is most of the work, and does not change with the detectors."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.detectors.replay import answered, nothing_near
from holdfast.files import write_atomically
from holdfast.model.answers import Answers
from holdfast.model.preprocess import Pixels
from holdfast.server.core.snapshot import ModelSnapshot

PART = 2048
"""Images whose answers are one file: what was answered is kept where a run is stopped."""


class AnswersFolder:
    """Answers to images, each asked once.

    Args:
        snapshot: the model.
        folder: keeps the answers; None: they are not kept.

    """

    def __init__(self, snapshot: ModelSnapshot, folder: Path | None) -> None:
        self._snapshot, self._folder = snapshot, folder
        self._template = answered(snapshot, np.zeros((1, *snapshot.description.contract.shape), np.uint8))

    def __call__(self, images: Pixels) -> Answers:
        """What the model answers to images uint8 [N, H, W, 3], without neighbours."""
        different, first, rows = _different(images)
        if self._folder is None:
            return _rows(answered(self._snapshot, images[first]), rows)
        starts = range(0, len(first), PART)
        parts = [self._part(different[at : at + PART], images[first[at : at + PART]]) for at in starts]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return _rows(self._filled(joined), rows)

    def _part(self, different: Sequence[bytes], images: Pixels) -> Mapping[str, Any]:
        """Columns of the answers to images of these digests: read, or asked for and kept."""
        assert self._folder is not None  # noqa: S101 - where answers are kept
        digest = blake2b(self._snapshot.description.bundle_version.encode() + b"".join(different), digest_size=16).hexdigest()
        path = self._folder / f"{digest}.npz"
        if path.exists():
            with np.load(path) as kept:
                return {name: kept[name] for name in kept.files}
        columns, buffer = _columns(answered(self._snapshot, images)), io.BytesIO()
        np.savez(buffer, **columns)
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
        return columns

    def _filled(self, kept: Mapping[str, Any]) -> Answers:
        columns = {name: kept[name] for name in _columns(self._template)}
        return replace(self._template, **columns, neighbours=nothing_near(len(columns["labels"])))


def _columns(answers: Answers) -> dict[str, Any]:
    parts = {field.name: getattr(answers, field.name) for field in fields(answers)}
    return {name: part for name, part in parts.items() if isinstance(part, np.ndarray)}


def _rows(answers: Answers, rows: NDArray[np.intp]) -> Answers:
    columns = {name: column[rows] for name, column in _columns(answers).items()}
    return replace(answers, **columns, neighbours=nothing_near(len(rows)))


def _different(images: Pixels) -> tuple[list[bytes], list[int], NDArray[np.intp]]:
    """Digests of the different images, where each is for the first time, and which of them each image is."""
    numbers: dict[bytes, int] = {}
    first, rows = list[int](), np.empty(len(images), np.intp)
    for row, image in enumerate(images):
        digest = blake2b(image.tobytes(), digest_size=16).digest()
        if digest not in numbers:
            numbers[digest] = len(numbers)
            first.append(row)
        rows[row] = numbers[digest]
    return list(numbers), first, rows
