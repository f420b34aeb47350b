"""A directory of images of bounded size, each under the hash of its pixels, whole or not there at all."""

import io
import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from holdfast.data.digest import image_digests
from holdfast.files import make_directory, replace_atomically

SUFFIX = ".png"
MODE = 0o640
"""Of a file: what callers send is nobody else's business."""


class SpoolDirectory:
    """PNG files. Once they are as large as they may be, a new image takes the place of one drawn at random, or of none.

    So what lies there is a uniform sample of all that was offered since it was opened (algorithm R, Vitter 1985), and a flood
    pushes out no more than its share. What was there before counts as having been offered. Files that others take away make
    room.

    Args:
        path: of the directory, which is made where there is none.
        most_bytes: of all files.
        random: draws what makes room.

    Raises:
        OSError: it cannot be made, read or written to.

    """

    def __init__(self, path: Path, most_bytes: int, random: np.random.Generator) -> None:
        self._path, self._most_bytes, self._random = path, most_bytes, random
        make_directory(path)
        with os.scandir(path) as entries:
            self._sizes = {entry.name: entry.stat().st_size for entry in entries if _is_image(entry)}
        self.bytes = sum(self._sizes.values())
        self._offered = len(self._sizes)
        probe = path / f".holdfast-{os.getpid()}"
        probe.touch()  # better refused at the start than found out at the first image
        probe.unlink()

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, image: NDArray[np.uint8]) -> Literal["kept", "known", "passed_over"]:
        """Write an image, uint8 [H, W, 3], unless it is there or there is no room.

        Raises:
            OSError: it cannot be written; nothing of it is left.

        """
        name = bytes(image_digests(image[None])[0]).hex() + SUFFIX
        if name in self._sizes:
            return "known"
        self._offered += 1
        content = _png(image)
        if self.bytes + len(content) > self._most_bytes and not self._make_room(len(content)):
            return "passed_over"
        with replace_atomically(self._path / name, mode=MODE) as aside:
            aside.write_bytes(content)
        self._sizes[name] = len(content)
        self.bytes += len(content)
        return "kept"

    def _make_room(self, needed: int) -> bool:
        """Remove files until there is room, if chance has it that the new image stays."""
        self._forget_taken()
        if self.bytes + needed <= self._most_bytes:
            return True
        if needed > self._most_bytes or self._random.random() * self._offered >= len(self._sizes):
            return False
        while self.bytes + needed > self._most_bytes:
            names = list(self._sizes)
            self._drop(names[int(self._random.integers(len(names)))])
        return True

    def _forget_taken(self) -> None:
        """Files that somebody has taken away."""
        present = {path.name for path in self._path.iterdir()}
        for name in self._sizes.keys() - present:
            self.bytes -= self._sizes.pop(name)

    def _drop(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)
        self.bytes -= self._sizes.pop(name)


def _is_image(entry: "os.DirEntry[str]") -> bool:
    return entry.is_file() and entry.name.endswith(SUFFIX) and not entry.name.startswith(".")


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
