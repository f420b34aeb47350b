"""Listening for gRPC, in plain text or by TLS."""

from collections.abc import Callable
from functools import partial

import grpc
import grpc.aio

from holdfast.server.access.gate import Gate


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
