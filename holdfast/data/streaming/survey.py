"""A first look at every image of a set, before anything is learned: which can be read, the hash of the set, and its statistics.

It takes as long as an epoch of decoding, and is kept in the user's cache. The files' sizes and times say whether it still
holds, so a run that is resumed does not take it again.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import PIL
from numpy.typing import NDArray

from holdfast.bundle.sources import Sources
from holdfast.console import Console, Progress
from holdfast.data.labelled import begin_digest
from holdfast.data.sources import Ints, StreamedFiles
from holdfast.data.streaming.pool import DecodingPool
from holdfast.files import replace_atomically

AT_ONCE = 256
SHOWN_FROM = 1_000  # images: below that a progress bar only flickers
VERSION = 1
"""Of what is kept; one more where the decoder gives other pixels."""


@dataclass(frozen=True, eq=False)
class PartSurvey:
    """What was seen of one part of a set.

    Attributes:
        rows: int64 [m], which images can be read.
        faults: "name: reason" of each of the others.
        sha256: as `LabelledImages.sha256` of those that can be read.
        counts: int64 [3, 256], how often each value is in each channel.

    """

    rows: Ints
    faults: tuple[str, ...]
    sha256: str
    counts: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write it, all of it or nothing."""
        faults = Sources.of(self.faults)
        with replace_atomically(path) as temporary, temporary.open("wb") as file:
            digest = np.frombuffer(bytes.fromhex(self.sha256), np.uint8)
            np.savez(file, rows=self.rows, text=faults.text, ends=faults.ends, sha256=digest, counts=self.counts)

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """One that was kept; None where there is none, or a damaged one."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                faults = tuple(Sources(kept["text"], kept["ends"]))
                return cls(kept["rows"], faults, kept["sha256"].tobytes().hex(), kept["counts"])
        except (OSError, ValueError, KeyError, EOFError):
            return None


def survey(parts: Sequence[StreamedFiles], pool: DecodingPool) -> list[PartSurvey]:
    """Read every image of the parts of a set once, or take what was found the last time.

    Args:
        parts: of the set.
        pool: decodes.

    """
    paths = [surveys_folder() / f"{_identity(part)}.npz" for part in parts]
    kept = [PartSurvey.load(path) for path in paths]
    left = sum(len(part) for part, found in zip(parts, kept, strict=True) if found is None)
    shown = Progress(console=Console(stderr=True), transient=True, disable=left < SHOWN_FROM)
    with shown as progress:
        task = progress.add_task("reading all once", total=left)
        found, keeping = [], True
        for part, path, known in zip(parts, paths, kept, strict=True):
            each = known or _read_all(part, pool, lambda images: progress.advance(task, images))
            keeping = keeping and (known is not None or _keep(each, path))  # each as soon as it is there
            found.append(each)
    return found


def _keep(found: PartSurvey, path: Path) -> bool:
    """Keep a survey, and return whether that can be done: without it the next run takes longer, and this one goes on."""
    try:
        found.save(path)
    except OSError as error:
        Console(stderr=True).print(f"what was seen of the images is not kept ({error}): the next run reads them again")
        return False
    return True


def _read_all(part: StreamedFiles, pool: DecodingPool, advance: Callable[[int], None]) -> PartSurvey:
    digest = begin_digest(part.class_names, (len(part), *part.contract.shape))
    counts = np.zeros((3, 256), np.int64)
    rows, faults = [np.zeros(0, np.int64)], []
    for read in pool.read(part, in_order(np.arange(len(part)))):
        digest.update(np.ascontiguousarray(read.images).data)
        for channel in range(3):
            counts[channel] += np.bincount(read.images[..., channel].ravel(), minlength=256)
        rows.append(read.rows)
        faults += [f"{part.sources[fault.row]}: {fault.reason}" for fault in read.faults]
        advance(len(read.rows) + len(read.faults))
    readable = np.concatenate(rows)
    if faults:  # the hash begins with the number of images, which is known only now
        digest = begin_digest(part.class_names, (len(readable), *part.contract.shape))
        for read in pool.read(part, in_order(readable)):
            digest.update(np.ascontiguousarray(read.images).data)
    digest.update(np.ascontiguousarray(part.labels[readable], dtype="<i8").data)
    return PartSurvey(readable, tuple(faults), digest.hexdigest(), counts)


def in_order(rows: Ints, size: int = AT_ONCE) -> list[Ints]:
    """Rows, int64 [n], in batches of `size`."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def surveys_folder() -> Path:
    """Where surveys are kept; whoever deletes it loses time alone."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast" / "surveys"


def _identity(part: StreamedFiles) -> str:
    """What tells a part, and how it is decoded, from any other, without reading an image."""
    about = (VERSION, PIL.__version__, part.contract.model_dump_json(), part.max_pixels, part.class_names)
    digest = hashlib.sha256(repr(about).encode(errors="surrogateescape"))
    for column in (part.sources.text, part.sources.ends, part.labels, part.stamps(np.arange(len(part)))):
        digest.update(hashlib.sha256(np.ascontiguousarray(column).data).digest())
    return digest.hexdigest()
