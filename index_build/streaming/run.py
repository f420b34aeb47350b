"""Embedding what is missing of a set, and keeping it."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from holdfast.bundle.reader import ENCODER, Bundle
from holdfast.bundle.sources import Sources
from holdfast.data.sources import LabelledSource
from holdfast.data.streamed import StreamedSplits
from holdfast.index_build.streaming import parts as kept
from holdfast.index_build.streaming.embedding import EmbeddingJob
from holdfast.index_build.streaming.launch import Launcher
from holdfast.index_build.streaming.parts import SPLITS, PartsFolder, PartsHeader, RowRange, pieces_of
from holdfast.index_build.streaming.progress import progress
from holdfast.index_build.streaming.unchanged import changed_rows


def header_of(
    bundle: Bundle, splits: StreamedSplits, *, half: bool, content: str = "", about: dict[str, Any] | None = None
) -> PartsHeader:
    """What parts of a set belong to.

    Args:
        bundle: has the encoder.
        splits: the set.
        half: whether embeddings are kept as float16.
        content: the hash of the set, where it is known already.
        about: what else to write down.

    """
    sources = [splits.part(split) for split in SPLITS]
    identity = {
        "encoder": bundle.manifest.files[ENCODER],
        "set": content or _listing_sha256(sources),
        "class_names": list(splits.class_names),
        "shape": list(splits.train.contract.shape),
        "counts": [len(source) for source in sources],
        "rows": kept.ROWS,
        "dim": bundle.encoder.dim,
        "half": half,
    }
    if bundle.placement.device != "cpu":  # another device's last digits are its own
        identity["device"] = str(bundle.placement)
    return PartsHeader(identity, about or {})


def embed_missing(
    folder: PartsFolder, job: EmbeddingJob, pieces: Sequence[RowRange], launcher: Launcher, *, quiet: bool
) -> None:
    """Embed those of the pieces that there are no parts of, or parts of images that have changed since.

    Args:
        folder: gets the parts, each as soon as it is done.
        job: embeds a piece.
        pieces: of the set.
        launcher: where.
        quiet: no progress bar.

    """
    missing = folder.missing(
        pieces, lambda part, piece: next(changed_rows(part, piece, job.splits.part(piece.split)), None) is None
    )
    images = sum(piece.stop - piece.start for piece in pieces)
    left = sum(piece.stop - piece.start for piece in missing)
    with progress("embedding", images, quiet=quiet, done=images - left) as advance:
        for part in launcher.run(job, missing, advance) if missing else ():
            folder.keep(part)


def pieces_in(splits: StreamedSplits) -> tuple[RowRange, ...]:
    """All pieces of a set."""
    return pieces_of([len(splits.part(split)) for split in SPLITS])


def _listing_sha256(sources: Sequence[LabelledSource]) -> str:
    """The hash of labels and names: what is known of images before they are read."""
    digest = hashlib.sha256()
    for source in sources:
        names = Sources.of(source.sources)
        for column in (np.ascontiguousarray(source.labels, dtype="<i8"), names.text, names.ends):
            digest.update(hashlib.sha256(np.ascontiguousarray(column).data).digest())
    return digest.hexdigest()
