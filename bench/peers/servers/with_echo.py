"""grpc.aio and uvloop alone: every call is answered with the same bytes, of the size of an answer. What no server undercuts."""

from typing import Any

import grpc
import grpc.aio
import numpy as np
import uvloop

from bench.peers.servers.served import PeerModel, PeerOptions
from bench.peers.servers.with_grpcio import result_of
from holdfast.protos.holdfast.v1 import holdfast_pb2

CLASSIFY = "/holdfast.v1.HoldfastService/Classify"


class EchoHandler(grpc.GenericRpcHandler):
    """Bytes in, bytes out."""

    def __init__(self, reply: bytes) -> None:
        async def answer(request: bytes, context: Any) -> bytes:
            del request, context
            return reply

        self._handler: Any = grpc.unary_unary_rpc_method_handler(answer)

    def service(self, handler_call_details: Any) -> Any:
        """Called by gRPC for each call."""
        return self._handler if handler_call_details.method == CLASSIFY else None


async def _serve(port: int, reply: bytes) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((EchoHandler(reply),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def serve(options: PeerOptions) -> None:
    """Serves until the process is ended."""
    model = PeerModel(options)
    (answer,) = model.classify([np.zeros(model.shape, dtype=np.uint8)])
    reply = holdfast_pb2.ClassifyResponse(results=[result_of(answer)]).SerializeToString()
    del model
    uvloop.run(_serve(options.port, reply))
