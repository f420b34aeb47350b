"""A caller who sends calls and takes no replies, as raw HTTP/2: it gets no more than its share, and others are served."""

import socket
import struct

import grpc
import pytest

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from tests.server.running import Serve, Served, wait_for
from tests.server.tiny import coloured, raw

GOOD = raw(coloured(1, 1, seed=1)[0])


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header field that is neither indexed nor compressed (RFC 7541, 6.2.2)."""
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


class NeverReads:
    """Takes no byte of any reply: it lets the server send 0 bytes on each stream (RFC 9113, 6.9)."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        window = struct.pack(">HI", 4, 0)  # SETTINGS_INITIAL_WINDOW_SIZE
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, window) + frame(4, 1, 0, b""))
        self._stream = -1

    def classify(self, request: pb.ClassifyRequest) -> None:
        self._stream += 2
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/holdfast.v1.HoldfastService/Classify",
            ":authority": "x",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        headers = b"".join(literal(name.encode(), value.encode()) for name, value in fields.items())
        message = request.SerializeToString()
        body = b"\0" + struct.pack(">I", len(message)) + message
        self._socket.sendall(frame(1, 4, self._stream, headers) + frame(0, 1, self._stream, body))

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_replies_that_nobody_takes_stay_in_the_count(serve: Serve, workers: int) -> None:
    served = serve(queue_images=16, max_images=4, caller_share=0.5, workers=workers)
    reader = NeverReads(served.app.address)
    for _ in range(40):
        reader.classify(pb.ClassifyRequest(images=[GOOD]))
    wait_for(lambda: served.metric("holdfast_refused_images_total", reason="caller") == 32)
    wait_for(lambda: served.metric("holdfast_queue_images") == 0)
    assert taking(served, workers) == 8  # half of all there is: answered, and not taken
    assert served.metric("holdfast_admitted_reply_bytes") > 0
    # They are one caller here, so another call of this address is refused, and says so at once.
    with pytest.raises(grpc.RpcError) as refused:
        served.stub.Classify(pb.ClassifyRequest(images=[GOOD]), timeout=5)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
    reader.close()
    wait_for(lambda: taking(served, workers) == 0)
    assert served.stub.Classify(pb.ClassifyRequest(images=[GOOD])).results[0].answer.label.name == "green"


def taking(served: Served, workers: int) -> float:
    """Images admitted by the process that takes calls."""
    return served.metric("holdfast_admitted_images", **({"process": "worker-0"} if workers else {}))
