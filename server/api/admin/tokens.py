"""Who may use the admin service: the tokens of a file, read again whenever it has changed."""

import hashlib
import hmac
import logging
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import HoldfastError

log = logging.getLogger(__name__)

SHORTEST = 16
"""Characters of the shortest token that is taken: openssl rand -hex 32 makes one of 64."""

_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._@-]{0,63}):([A-Za-z0-9._~+/=-]+)(:read|:change)?")


class TokenFileError(HoldfastError):
    """A file of tokens that cannot be used."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever holds a token: its name, which the audit trail keeps, and whether it may change anything."""

    name: str
    may_change: bool = True


class TokenFile:
    """Tokens, a line each: NAME:TOKEN, or NAME:TOKEN:read for one that changes nothing. Lines that begin with # are comments.

    The file is read again as soon as it has changed. One that has become unusable is an error in the log, and the tokens of
    before stay. Belongs to one event loop.

    Args:
        path: the file. Nobody but its owner and its group may have any access to it.

    Raises:
        TokenFileError: it is not there, others may read it, or a line of it is no token.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _fingerprint(path)
        self._principals = read_tokens(path)

    def holder_of(self, token: str) -> Principal | None:
        """Who holds this token; None where nobody does. Takes the same time wherever in the file it is."""
        self._follow()
        given, holder = _digest(token), None
        for digest, principal in self._principals:
            if hmac.compare_digest(digest, given):
                holder = principal
        return holder

    def _follow(self) -> None:
        now = _fingerprint(self._path)
        if now == self._seen:
            return
        self._seen = now
        try:
            self._principals = read_tokens(self._path)
        except TokenFileError as error:
            log.error("the tokens of before are still in use: %s", error)  # noqa: TRY400 - it says all there is to say
        else:
            log.info("%d tokens were read again from %s", len(self._principals), self._path)


def read_tokens(path: Path) -> list[tuple[bytes, Principal]]:
    """The SHA-256 of each token of a file, and who holds it. Raises TokenFileError."""
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenFileError(f"the file of tokens cannot be read: {error}") from None
    if stat.S_IMODE(mode) & stat.S_IRWXO:
        raise TokenFileError(f"everybody on this machine may use {path}, which holds tokens: run chmod 600 {path}")
    tokens = [_token_of(path, number, line.strip()) for number, line in enumerate(lines, 1) if not _is_comment(line)]
    if not tokens:
        raise TokenFileError(f'{path} holds no token: write a line into it, with echo "operator:$(openssl rand -hex 32)"')
    if len({digest for digest, _ in tokens}) < len(tokens) or len({who.name for _, who in tokens}) < len(tokens):
        raise TokenFileError(f"{path} has two lines with the same token or the same name: give each its own")
    return tokens


def _is_comment(line: str) -> bool:
    return line.strip()[:1] in {"", "#"}


def _token_of(path: Path, number: int, line: str) -> tuple[bytes, Principal]:
    parts = _LINE.fullmatch(line)
    if parts is None:
        raise TokenFileError(f"line {number} of {path} is not NAME:TOKEN or NAME:TOKEN:read")
    name, token, rights = parts.groups()
    if len(token) < SHORTEST:
        raise TokenFileError(
            f"the token of {name} in {path} has {len(token)} characters; it takes {SHORTEST} not to be guessed"
        )
    return _digest(token), Principal(name, may_change=rights != ":read")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _fingerprint(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
