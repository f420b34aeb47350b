"""Writing files so that a crash leaves the old one or the new one, never half of either."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replace_atomically(path: Path, *, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit fsync it and rename it to `path`, otherwise remove it.

    The temporary name keeps the suffix of `path`, for writers that go by it. The file gets the permissions of `mode`, and until
    then nobody else may read it.

    Raises:
        FileExistsError: `path` is something else than a file, such as /dev/null.
        OSError: of `path`, where it cannot be written.

    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "is no file, and is not replaced by one", str(path))
    make_directory(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        temporary.chmod(mode)  # by default not mkstemp's 0600, which would lock out the server's own, non-root user
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # a write to a disk that is full
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`, all of it or nothing."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(data)


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file that is not there yet, all of it or nothing, with these permissions from the first moment.

    Raises:
        FileExistsError: something is there, which is left as it is.
        OSError: it cannot be written.

    """
    make_directory(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}.", dir=path.parent)
    aside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        os.link(aside, path)  # a rename would replace what is there
        sync(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename in {None, name}:  # a disk that is full, or the link
            raise type(error)(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        aside.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, where they are not there, and wait until their names have reached the disk."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
