"""What one listener asks of its callers: the tokens it knows, and streams that end when their token does."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from holdfast.server.access.files import FileFollower
from holdfast.server.access.refusals import Refusals
from holdfast.server.access.token_file import TokenFile
from holdfast.server.access.tokens import TokenRecord
from holdfast.server.metrics.access import AccessMetrics, FileKind, Listener, RefusalReason


class Gate:
    """Who is let in at one listener. Belongs to one event loop.

    Args:
        listener: which one, for metrics.
        metrics: of this process.
        token_file: whose tokens are asked for; None: nobody is asked for one.

    Attributes:
        tokens: those of the file; None where no tokens are asked for.

    Raises:
        TokenFileError: the file cannot be used.

    """

    def __init__(self, listener: Listener, metrics: AccessMetrics, token_file: Path | None) -> None:
        self._refusals = Refusals(listener, metrics)
        self._streams: defaultdict[TokenRecord, set[asyncio.Future[None]]] = defaultdict(set)
        self.tokens: TokenFile | None = None
        if token_file is not None:
            self.tokens = TokenFile(token_file, partial(_report, metrics, listener))
            metrics.asks_for_tokens(listener)
            metrics.follows(listener, FileKind.TOKENS)
        self._follower = FileFollower(self._look, self._end_streams)

    @property
    def asks(self) -> bool:
        """Whether callers show anything that says who they are."""
        return self.tokens is not None

    def start(self) -> None:
        """Follow the files from now on."""
        if self.tokens is not None:
            self._follower.start()

    async def stop(self) -> None:
        """Follow them no more."""
        await self._follower.stop()

    def find(self, token: str) -> TokenRecord | None:
        """The record of a token, expired or not; None where there is none."""
        return None if self.tokens is None else self.tokens.find(token)

    def refused(self, reason: RefusalReason, method: str, peer: str) -> None:
        """Count a call that is refused."""
        self._refusals.add(reason, method, peer)

    @contextmanager
    def watching(self, record: TokenRecord) -> Iterator["asyncio.Future[None]"]:
        """A future that is done as soon as this token is valid no more: expired, changed or taken out of the file."""
        revoked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._streams[record].add(revoked)
        try:
            yield revoked
        finally:
            self._streams[record].discard(revoked)
            if not self._streams[record]:
                del self._streams[record]

    def _look(self) -> None:
        if self.tokens is not None:
            self.tokens.look()

    def _end_streams(self) -> None:
        if self.tokens is None:
            return
        for record in [each for each in self._streams if not self.tokens.valid(each)]:
            for revoked in self._streams[record]:
                if not revoked.done():
                    revoked.set_result(None)


def _report(metrics: AccessMetrics, listener: Listener, usable: bool) -> None:
    metrics.read_again(listener, FileKind.TOKENS, usable=usable)
