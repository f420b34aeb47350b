"""What goes over a control link: JSON objects of one key each, in frames.

engine -> worker: {"begin": settings and what is served}, first; {"scrape": number}; {"drain": true}.
worker -> engine: {"ready": true} or {"failed": why}; {"samples": families, "number": number}; {"drained": whether all ended}.
"""

import json
import socket
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, Self

from holdfast.model.preprocess import InputContract
from holdfast.protos.holdfast.v1.holdfast_pb2 import GetModelInfoResponse
from holdfast.server.api.grpc_server import Served
from holdfast.server.settings import Settings
from holdfast.server.workers.frames import LENGTH, WireError, frame

MOST_BYTES = 64 * 2**20
"""Of one control message: class names and metrics, with room."""


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
    """All that a worker has to know, so that it need not open the bundle.

    Attributes:
        name: the worker's, as logs and metrics have it.
        settings: the server's, with the port that the engine has taken.
        served: the bundle, as far as callers see it.

    """

    name: str
    settings: Settings
    served: Served

    def encode(self) -> bytes:
        """As a frame."""
        served = {
            "info": b64encode(self.served.info.SerializeToString()).decode(),
            "contract": self.served.contract.model_dump(),
        }
        return encode(begin={"name": self.name, "settings": self.settings.model_dump(mode="json"), **served})

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """From a frame's body."""
        fields = decode(body)["begin"]
        served = Served(
            GetModelInfoResponse.FromString(b64decode(fields["info"])), InputContract.model_validate(fields["contract"])
        )
        return cls(fields["name"], Settings(**fields["settings"]), served)


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
