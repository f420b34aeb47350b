"""What an evaluation has measured already, in a directory, so that an interruption costs one batch."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from holdfast.errors import HoldfastError
from holdfast.files import write_atomically

T = TypeVar("T")
IDENTITY, SECONDS = "identity.json", "seconds"


class ResultCache:
    """Results by name, each computed once; they count only for the evaluation that the directory was begun for."""

    def __init__(self, directory: Path | None = None, identity: Mapping[str, Any] | None = None) -> None:
        """Begin in `directory`, or go on where an interrupted run stopped.

        Args:
            directory: made where it is not there. Without one nothing is kept.
            identity: everything that must be the same for earlier results to count, as JSON can hold it.

        Raises:
            HoldfastError: the directory holds the results of another evaluation, or cannot be read or written.

        """
        self.directory = directory
        if directory is None:
            return
        path = directory / IDENTITY
        wanted = json.loads(json.dumps(identity))
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_atomically(path, (json.dumps(wanted, indent=2) + "\n").encode())
            there = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise HoldfastError(f"{path} cannot be used ({error}); remove it, or name another directory by --cache") from error
        if there != wanted:
            raise HoldfastError(_refusal(directory, there, wanted))

    def file(self, name: str) -> Path | None:
        """Where an attack keeps its journal `name`; None where nothing is kept."""
        return None if self.directory is None else self.directory / f"{name}.npz"

    def has(self, name: str) -> bool:
        """Whether `once` has this result already."""
        path = self._path(name)
        return path is not None and path.exists()

    def once(self, name: str, kind: type[T], compute: Callable[[], T]) -> T:
        """The result `name`: as an earlier call kept it, else computed now and kept.

        Args:
            name: of the file, without its suffix.
            kind: what pydantic reads and writes it as.
            compute: makes it.

        Raises:
            HoldfastError: it is there but cannot be read.

        """
        adapter, path = TypeAdapter(kind), self._path(name)
        if path is None:
            return compute()
        if not path.exists():
            write_atomically(path, adapter.dump_json(compute(), indent=2))
        # What was just computed is read back too, so that an interrupted run and a whole one go through the same digits.
        try:
            return adapter.validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise HoldfastError(f"{path} cannot be read; remove it to measure it again ({error})") from error

    @property
    def seconds(self) -> float:
        """Wall time of the runs before this one, as far as they ended in order."""
        path = self._path(SECONDS)
        return float(path.read_text()) if path is not None and path.exists() else 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Adds the wall time of what is done inside, interrupted or not."""
        before, began = self.seconds, time.monotonic()
        try:
            yield
        finally:
            path = self._path(SECONDS)
            if path is not None:
                write_atomically(path, f"{before + time.monotonic() - began:.1f}\n".encode())

    def _path(self, name: str) -> Path | None:
        return None if self.directory is None else self.directory / f"{name}.json"


def _refusal(directory: Path, there: Any, wanted: Mapping[str, Any]) -> str:
    kept = there if isinstance(there, dict) else {}
    keys = [key for key in dict.fromkeys((*kept, *wanted)) if kept.get(key) != wanted.get(key)]
    differing = "".join(f"\n  {key}: there {json.dumps(kept.get(key))}, now {json.dumps(wanted.get(key))}" for key in keys)
    return (
        f"{directory} holds the results of another evaluation; give the same options to go on with it, name another directory"
        f" by --cache, or remove it to start anew. What differs:{differing}"
    )
