"""Embedding a set so that a run that is cut short is continued, not repeated."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.files import replace_atomically, write_atomically
from holdfast.model.encoder.device import CPU, Placement
from holdfast.model.encoder.onnx import Encoder
from holdfast.model.preprocess import Pixels

Floats = NDArray[np.float32]

FOLDER = ".index_build"
HEADER = "header.json"
ROWS = 1024  # images a part: what a crash can cost, about a second on a small encoder


class PartialEmbeddings:
    """Finished parts of one run: files of 1,024 embeddings each, which belong to one encoder and one set of images.

    They are kept only while that encoder and these images stay what they were, and the device, whose last digits are its own;
    otherwise they are removed at the start.

    Args:
        bundle: the bundle's directory; the parts lie in its `.index_build/`.
        encoder_sha256: of encoder.onnx.
        images: uint8 [N, H, W, 3], what is to be embedded.
        placement: where.

    """

    def __init__(self, bundle: Path, encoder_sha256: str, images: Pixels, placement: Placement = CPU) -> None:
        self._folder = bundle / FOLDER
        self._images = images
        content = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
        header = {"encoder": encoder_sha256, "images": content, "count": len(images), "rows": ROWS}
        if placement.device != "cpu":  # parts that name no device were embedded on the CPU
            header |= {"device": str(placement)}
        written = json.dumps(header, sort_keys=True).encode()
        path = self._folder / HEADER
        if not path.is_file() or path.read_bytes() != written:
            self.remove()
            write_atomically(path, written)

    def embed(self, encoder: Encoder, batch_size: int, advance: Callable[[int], None]) -> Floats:
        """Embed what is not there yet: float32 [N, D]. `advance` is called with the images of each batch, counted."""
        embeddings = np.empty((len(self._images), encoder.dim), dtype=np.float32)
        for start in range(0, len(self._images), ROWS):
            images = self._images[start : start + ROWS]
            path = self._folder / f"part-{start // ROWS:06d}.npy"
            part = _load(path, (len(images), encoder.dim))
            if part is None:
                part = np.empty((len(images), encoder.dim), dtype=np.float32)
                for row in range(0, len(images), batch_size):
                    batch = images[row : row + batch_size]
                    part[row : row + batch_size] = encoder.embed(batch)
                    advance(len(batch))
                with replace_atomically(path) as temporary:
                    np.save(temporary, part)
            else:
                advance(len(images))
            embeddings[start : start + ROWS] = part
        return embeddings

    def remove(self) -> None:
        """Delete the parts: the run is complete, or they belong to another one."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _load(path: Path, shape: tuple[int, int]) -> Floats | None:
    """A finished part, or None where there is none that can be used."""
    try:
        part: Floats = np.load(path, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return part if part.shape == shape and part.dtype == np.float32 else None
