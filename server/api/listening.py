"""Listening for gRPC, in plain text or by TLS, and for which methods."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import grpc
import grpc.aio

from holdfast.server.access.gate import Gate


class GenericMethods:
    """Stands for a server while services add themselves to it, and keeps their methods from being registered with gRPC's core.

    grpc.aio waits for the next call of each registered method with a future of its own, and looks at all of these futures
    again at every call: with 20 methods that was a seventh of what a small call costs. Calls of methods that are not
    registered come in by one future, and what answers them is found by name, once (`Around`).

    Args:
        server: that has not started.

    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """All methods of a service."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """The same again, which changes nothing."""


def methods_of(server: grpc.aio.Server) -> grpc.aio.Server:
    """What services are to be added to in the place of a server."""
    return cast("grpc.aio.Server", GenericMethods(server))


def opener(server: grpc.aio.Server, gate: Gate) -> Callable[[str], int]:
    """What makes a server that has not started listen on "host:port", and returns the port's number."""
    credentials = _credentials_of(gate)
    if credentials is None:
        return server.add_insecure_port
    return partial(server.add_secure_port, server_credentials=credentials)


def _credentials_of(gate: Gate) -> grpc.ServerCredentials | None:
    """What the server shows and asks for when a client connects; each new connection gets the certificate of then."""
    certificate = gate.certificate
    if certificate is None:
        return None
    shown = certificate.current

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(shown.key, shown.chain)], shown.client_ca)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC for each connection; None: the one before still holds."""
        nonlocal shown
        if certificate.current is shown:
            return None
        shown = certificate.current
        return configuration()

    required = gate.asks_for_certificates
    # grpcio documents None; its stubs do not.
    return grpc.dynamic_ssl_server_credentials(configuration(), fetch, required)  # type: ignore[arg-type]
