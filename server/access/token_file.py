"""The tokens of a file, as a server knows them: read again as soon as the file has changed."""

import hashlib
import hmac
import logging
import secrets
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from holdfast.server.access.files import fingerprint
from holdfast.server.access.tokens import TokenFileError, TokenRecord, TokenTable, digest_of

log = logging.getLogger(__name__)


class TokenFile:
    """Says who holds a token. Any thread may ask.

    A file that has become unusable is an error in the log, and the tokens of before stay. One that has become a table without
    tokens is followed: then nobody holds one.

    Args:
        path: the file, which `holdfast token` writes. Nobody but its owner and its group may write to it.
        report: told of each attempt to read it again, whether it was read.
        held: the text that another process has read before, to begin with where the file is unusable now.

    Raises:
        TokenFileError: it is not there, others may write to it, or it holds no table of tokens.

    """

    def __init__(self, path: Path, report: Callable[[bool], None] = lambda _: None, held: str | None = None) -> None:
        self._path, self._report = path, report
        self._looking = threading.Lock()
        self._seen = fingerprint(path)
        self._index = _TokenIndex(self._first_table(held))
        if not len(self._index):
            log.warning("%s holds no tokens yet, so every call is refused: holdfast token add makes one", path)

    @property
    def text(self) -> str:
        """The table in use, as a file has it."""
        return self._index.table.format()

    def find(self, token: str) -> TokenRecord | None:
        """The record of this token, expired or not; None where there is none. A token added a moment ago is found."""
        found = self._index.find(token)
        if found is None and self.look():
            found = self._index.find(token)
        return found

    def valid(self, record: TokenRecord) -> bool:
        """Whether this record still stands in the file as it was, and has not expired."""
        return record in self._index and not record.expired(datetime.now(UTC))

    def _first_table(self, held: str | None) -> TokenTable:
        try:
            return read_table(self._path)
        except TokenFileError as error:
            if held is None:
                raise
            log.error("the tokens of before are still in use: %s", error)  # noqa: TRY400 - it says all there is to say
            self._report(False)
            return TokenTable.parse(held, self._path)

    def look(self) -> bool:
        """Read the file again if it has changed. Returns whether it has been read."""
        with self._looking:  # or what was read first might be put in place last
            now = fingerprint(self._path)
            if now == self._seen:
                return False
            self._seen = now
            try:
                self._index = _TokenIndex(read_table(self._path))
            except TokenFileError as error:
                log.error("the tokens of before are still in use: %s", error)  # noqa: TRY400 - it says all there is to say
                self._report(False)
                return False
            self._report(True)
        log.info("%d tokens were read again from %s", len(self._index), self._path)
        return True


class _TokenIndex:
    """Finds a token's record in constant time, and tells by the time it takes nothing of the others.

    Records are found by a keyed hash of their SHA-256. The key is this process's own, so nobody can choose tokens whose keys
    lie near those of others; what is found is then compared in a time that does not depend on where it differs.
    """

    def __init__(self, table: TokenTable) -> None:
        self.table, self._key = table, secrets.token_bytes(32)
        self._records = {self._place_of(record.sha256): record for record in table.tokens}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, record: TokenRecord) -> bool:
        return self._records.get(self._place_of(record.sha256)) == record

    def find(self, token: str) -> TokenRecord | None:
        given = digest_of(token)
        record = self._records.get(self._place_of(given))
        return record if record is not None and hmac.compare_digest(record.sha256, given) else None

    def _place_of(self, digest: str) -> bytes:
        return hashlib.blake2b(digest.encode(), key=self._key, digest_size=16).digest()


def read_table(path: Path, *, warn: bool = True) -> TokenTable:
    """The table of a file; where `warn`, the log says who else may read it. Raises TokenFileError."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenFileError(f"the file of tokens cannot be read: {error}; holdfast token add makes one") from None
    if mode & stat.S_IWOTH:
        raise TokenFileError(f"everybody on this machine may write to {path}, which says who may use it: run chmod 600 {path}")
    if warn and mode & stat.S_IROTH:
        log.warning("everybody on this machine may read %s, names and scopes: chmod 600 closes it", path)
    return TokenTable.parse(text, path)
