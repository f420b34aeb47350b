"""What one listener asks of its callers, what it shows them, and streams that end when their token does."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from holdfast.server.access.files import FileFollower, HeldContent, ListenerAccess
from holdfast.server.access.refusals import Refusals
from holdfast.server.access.token_file import TokenFile
from holdfast.server.access.tokens import TokenRecord
from holdfast.server.metrics.access import AccessMetrics, FileKind, Listener, RefusalReason

if TYPE_CHECKING:  # brings cryptography, which takes a tenth of a second and is for servers with TLS
    from holdfast.server.access.certificates import ServedCertificate


NOTHING_HELD = HeldContent()


class Gate:
    """Who is let in at one listener. Belongs to one event loop.

    Args:
        listener: which one, for metrics.
        metrics: of this process.
        access: what its operator has set.
        held: what another process has read before, to begin with where the files are unusable now.

    Attributes:
        tokens: those of the file; None where no tokens are asked for.
        certificate: the one in use; None where connections are not encrypted.
        asks_for_certificates: whether clients have to show one.

    Raises:
        HoldfastError: a file cannot be used.

    """

    def __init__(
        self, listener: Listener, metrics: AccessMetrics, access: ListenerAccess, held: HeldContent = NOTHING_HELD
    ) -> None:
        self._listener: Listener = listener
        self._metrics = metrics
        self._refusals = Refusals(listener, metrics)
        self._streams: defaultdict[TokenRecord, set[asyncio.Future[None]]] = defaultdict(set)
        self.tokens = self._read_tokens(access, held)
        self.certificate = self._read_certificate(access, held)
        self.asks_for_certificates = access.certificate is not None and access.certificate.client_ca is not None
        self._follower = FileFollower(self._look, self._act)

    @property
    def asks(self) -> bool:
        """Whether callers show anything that says who they are."""
        return self.tokens is not None or self.asks_for_certificates

    @property
    def held(self) -> HeldContent:
        """What is in use, for another process."""
        return HeldContent(
            None if self.tokens is None else self.tokens.text,
            () if self.certificate is None else self.certificate.current.files,
        )

    def start(self) -> None:
        """Follow the files from now on."""
        if self.tokens is not None or self.certificate is not None:
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

    def _read_tokens(self, access: ListenerAccess, held: HeldContent) -> TokenFile | None:
        if access.token_file is None:
            return None
        self._metrics.asks_for_tokens(self._listener)
        self._metrics.follows(self._listener, FileKind.TOKENS)
        return TokenFile(access.token_file, partial(self._report, FileKind.TOKENS), held.tokens)

    def _read_certificate(self, access: ListenerAccess, held: HeldContent) -> "ServedCertificate | None":
        if access.certificate is None:
            return None
        from holdfast.server.access.certificates import ServedCertificate  # noqa: PLC0415 - see above

        self._metrics.follows(self._listener, FileKind.CERTIFICATE)
        report = partial(self._report, FileKind.CERTIFICATE)
        certificate = ServedCertificate(access.certificate, access.warn_within, report, held.certificates)
        self._metrics.certificate_expires(self._listener, certificate.current.expires)
        return certificate

    def _report(self, file: FileKind, usable: bool) -> None:
        self._metrics.read_again(self._listener, file, usable=usable)

    def _look(self) -> None:
        if self.tokens is not None:
            self.tokens.look()
        if self.certificate is not None:
            self.certificate.look()

    def _act(self) -> None:
        if self.certificate is not None:
            self._metrics.certificate_expires(self._listener, self.certificate.current.expires)
        tokens = self.tokens
        if tokens is None:
            return
        for record in [each for each in self._streams if not tokens.valid(each)]:
            for revoked in self._streams[record]:
                if not revoked.done():
                    revoked.set_result(None)
