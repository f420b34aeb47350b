"""Whether a server takes calls, by the standard grpc.health.v1; for containers' health checks."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from holdfast.client.channel import Tls, open_channel
from holdfast.client.errors import from_call


def serving_status(address: str, timeout: float, tls: Tls | None = None) -> str:
    """The server's status: "SERVING", "NOT_SERVING" (warming up or draining), ... Raises ClientError."""
    with open_channel(address, tls) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            raise from_call(error, address) from None
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))
