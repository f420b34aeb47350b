"""Changing a file of tokens: one writer at a time, and a reader sees the table of before or the new one."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from holdfast.files import make_directory, replace_atomically
from holdfast.server.access.scopes import Scope
from holdfast.server.access.tokens import TokenFileError, TokenRecord, TokenTable, plain_lines, record_of


def add_token(path: Path, record: TokenRecord) -> None:
    """Put a token into a file, which is made where there is none. Raises TokenFileError where its name is taken."""

    def added(table: TokenTable) -> TokenTable:
        if any(known.name == record.name for known in table.tokens):
            raise TokenFileError(
                f"{path} has a token named {record.name}: choose another name, or remove that one with"
                f" holdfast token remove {record.name} --file {path}"
            )
        return TokenTable(tokens=(*table.tokens, record))

    _edit(path, added, make=True)


def remove_token(path: Path, name: str) -> None:
    """Take a token out of a file. Raises TokenFileError where there is none of that name."""

    def removed(table: TokenTable) -> TokenTable:
        rest = tuple(known for known in table.tokens if known.name != name)
        if len(rest) == len(table.tokens):
            raise TokenFileError(f"{path} has no token named {name}: holdfast token list --file {path} shows them")
        return TokenTable(tokens=rest)

    _edit(path, removed)


def migrate_tokens(path: Path) -> TokenTable:
    """Put hashes in the place of the tokens of a file of earlier versions, all of which stay valid. Returns the new table."""
    with _locked(path):
        found = plain_lines(_text_of(path))
        if not found:
            raise TokenFileError(f"{path} is no file of an earlier version, with lines NAME:TOKEN: there is nothing to migrate")
        records = [
            record_of(match["token"], match["name"], frozenset({_OLD_RIGHTS.get(match["rights"], Scope.ADMIN)}), None)
            for match in found
        ]
        try:
            table = TokenTable(tokens=tuple(records))
        except ValidationError:
            raise TokenFileError(f"{path} has two lines with the same token or the same name: give each its own") from None
        _write(path, table)
    return table


_OLD_RIGHTS = {":read": Scope.ADMIN_READ}
"""Scopes of an earlier version's tokens, by the end of their lines; all others might change exemplars."""


def read_for_editing(path: Path) -> TokenTable:
    """The table of a file. Raises TokenFileError."""
    return TokenTable.parse(_text_of(path), path)


def _edit(path: Path, change: Callable[[TokenTable], TokenTable], *, make: bool = False) -> None:
    if make:
        make_directory(path.parent)
    with _locked(path):
        table = TokenTable(tokens=()) if make and not path.exists() else read_for_editing(path)
        _write(path, change(table))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise TokenFileError(f"{path} is no file of tokens: it is no text") from None


def _write(path: Path, table: TokenTable) -> None:
    """Replace the file; a new one is its owner's alone, and an old one keeps its owner, and what its group may do."""
    target = path.resolve()  # where the path is a link, what it leads to is replaced
    before = target.stat() if target.exists() else None
    mode = 0o600 if before is None else 0o600 | (stat.S_IMODE(before.st_mode) & 0o060)
    with replace_atomically(target, mode=mode) as temporary:
        temporary.write_text(table.format(), encoding="utf-8")
        made = temporary.stat()
        if before is not None and (before.st_uid, before.st_gid) != (made.st_uid, made.st_gid):
            os.chown(temporary, before.st_uid, before.st_gid)  # or a server of that owner could not read it any more


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other writers out. The lock is on a file beside it, for the file itself is replaced."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        raise TokenFileError("files of tokens are changed where there are file locks, as on Linux and macOS") from None
    target = path.resolve()
    if not target.parent.is_dir():
        raise TokenFileError(f"{path} is not there: holdfast token add NAME --scope SCOPE --file {path} makes it")
    descriptor = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
