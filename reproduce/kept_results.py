"""What has been measured, kept in one JSON file as soon as it is known, so that no call measures it twice."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.errors import HoldfastError
from holdfast.files import write_atomically
from holdfast.intervals.paired import Bits

Figures = dict[str, Any]
"""What JSON holds: numbers, words, lists, and answers as `written`."""


class KeptResults:
    """Figures by the name of what they are of, in one file.

    Args:
        path: of the file; written whole or not at all, after each new figure.
        identity: what the figures depend on besides their names (the scale, the data's hash), as JSON holds it.

    Raises:
        HoldfastError: the file holds figures of something else, or is damaged; nothing is overwritten.

    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self._path, self._identity = path, json.loads(json.dumps(dict(identity)))
        self._figures: dict[str, Figures] = {}
        if path.is_file():
            self._figures = self._read()

    def of(self, name: str, measure: Callable[[], Figures]) -> Figures:
        """The figures of `name`: as kept, or else measured and kept."""
        if name not in self._figures:
            self._figures[name] = json.loads(json.dumps(measure(), allow_nan=False))
            kept = {"identity": self._identity, "figures": self._figures}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, (json.dumps(kept, indent=1) + "\n").encode())
        return self._figures[name]

    def __contains__(self, name: object) -> bool:
        return name in self._figures

    def _read(self) -> dict[str, Figures]:
        try:
            kept = json.loads(self._path.read_bytes())
            identity, figures = kept["identity"], dict(kept["figures"])
        except (ValueError, KeyError, TypeError) as error:
            raise HoldfastError(f"{self._path} is damaged: {error}; remove it, and all is measured again") from error
        if identity != self._identity:
            raise HoldfastError(f"{self._path} holds figures of other runs; name another --out, or remove it")
        return figures


def written(bits: Bits) -> str:
    """[True, False] -> "10"."""
    return "".join("01"[int(bit)] for bit in bits)


def read(bits: str) -> Bits:
    """Inverse of `written`."""
    return np.array([bit == "1" for bit in bits], dtype=bool)
