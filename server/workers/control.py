"""What goes over a control link: JSON objects of one key each, in frames.

engine -> worker: {"begin": name and settings}, first; {"scrape": number}; {"drain": true}.
worker -> engine: {"ready": true} or {"failed": why}; {"samples": families, "number": number}; {"drained": whether all ended};
    {"serving": whether its health checks say so}, whenever that is set.
both: {"beat": true}, several times in Settings.worker_timeout.
"""

import json
import socket
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, Self

from holdfast.server.access.files import HeldContent
from holdfast.server.access.gate import NOTHING_HELD
from holdfast.server.settings import Settings
from holdfast.server.workers.frames import LENGTH, WireError, frame

MOST_BYTES = 64 * 2**20
"""Of one control message: the longest are metrics, and far shorter."""


def encode(**message: Any) -> bytes:
    """One message as a frame."""
    return frame(json.dumps(message).encode())


def decode(body: memoryview | bytes) -> dict[str, Any]:
    """One message.

    Raises:
        WireError: not a JSON object.

    """
    try:
        message = json.loads(bytes(body))
    except ValueError as error:
        raise WireError(f"a control message that is no JSON: {error}") from None
    if not isinstance(message, dict):
        raise WireError("a control message that is no object")
    return message


@dataclass(frozen=True)
class Begin:
    """What a worker has to know before it begins. The model is described on the data link, and again when it changes.

    Attributes:
        name: the worker's, as logs and metrics have it.
        settings: the server's, with the port that the engine has taken.
        held: what the engine has read of the files of tokens and certificates.

    """

    name: str
    settings: Settings
    held: HeldContent = NOTHING_HELD

    def encode(self) -> bytes:
        """As a frame."""
        held = {"tokens": self.held.tokens, "certificates": [b64encode(each).decode() for each in self.held.certificates]}
        return encode(begin={"name": self.name, "settings": self.settings.model_dump(mode="json"), "held": held})

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """From a frame's body."""
        fields = decode(body)["begin"]
        held = HeldContent(fields["held"]["tokens"], tuple(map(b64decode, fields["held"]["certificates"])))
        return cls(fields["name"], Settings(**fields["settings"]), held)


def receive_begin(end: socket.socket) -> Begin:
    """The first message, waited for.

    Raises:
        EOFError: the engine is gone.

    """
    (length,) = LENGTH.unpack(_exactly(end, LENGTH.size))
    return Begin.decode(_exactly(end, length))


def _exactly(end: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        more = end.recv(count - len(received))
        if not more:
            raise EOFError("the engine is gone")
        received += more
    return bytes(received)
