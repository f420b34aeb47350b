"""Bodies of requests, within bounds of bytes and time."""

import asyncio
from contextlib import ExitStack

from aiohttp import web

from holdfast.server.api.http.errors import HttpError
from holdfast.server.settings import Settings


class Bodies:
    """Reads bodies, and counts the bytes of all that are held. Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._one, self._all, self._timeout = settings.max_message_bytes, settings.http_body_bytes, settings.http_timeout
        self._held = 0

    def check(self, request: web.Request) -> None:
        """Refuse by its head alone what would be refused later. Raises HttpError."""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise HttpError(415, "bodies are not unpacked here: send them without Content-Encoding", ends_connection=True)
        if request.content_length is not None and request.content_length > self._one:
            self._too_large()

    async def read(self, request: web.Request, held: ExitStack) -> bytes:
        """The whole body; its bytes count until `held` is closed.

        Raises:
            HttpError: it is too large or packed, all bodies together are, or it takes too long.

        """
        self.check(request)
        chunks: list[bytes] = []
        own = 0

        def give_back() -> None:
            self._held -= own

        held.callback(give_back)
        try:
            async with asyncio.timeout(self._timeout):
                while chunk := await request.content.readany():
                    own += len(chunk)
                    self._held += len(chunk)
                    if own > self._one:
                        self._too_large()
                    if self._held > self._all:
                        raise HttpError(503, "too many bodies are on their way; try again", "bodies", ends_connection=True)
                    chunks.append(chunk)
        except TimeoutError:
            raise HttpError(408, f"the body took longer than {self._timeout:g} s", "time", ends_connection=True) from None
        return b"".join(chunks)

    def _too_large(self) -> None:
        raise HttpError(413, f"the body is larger than {self._one} bytes", "body", ends_connection=True)
