"""How every client connects: in plain text or by TLS, with or without a token."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from holdfast.client.loopback import is_loopback
from holdfast.errors import HoldfastError

ADDRESS = "localhost:50051"

PER_CALL = 32
"""Images in one call by default: enough to spread the cost of a call, and few enough for any server's limit."""

IN_FLIGHT = 32
"""Unanswered messages of a stream: enough to fill a batch, and few enough not to fill the server's queue."""

OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # A connection that died silently is noticed, but only while a call is on it.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]

Metadata = tuple[tuple[str, str], ...]


class CredentialError(HoldfastError):
    """A token, certificate or key that cannot be used, or not on this connection."""


@dataclass(frozen=True)
class Tls:
    """How a connection is encrypted, and who is at its ends. All files are PEM.

    Attributes:
        ca: certificates of whoever signs the server's certificate; None: those that gRPC trusts, of the public web.
        cert: this client's certificate, followed by those between it and its signer, for a server that asks for one.
        key: the private key of `cert`.
        server_name: the name that the server's certificate must bear, where it is not that of the address.

    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """The files, read and checked.

        Raises:
            CredentialError: one is missing, is no PEM, or does not fit the other.

        """
        if (self.cert is None) != (self.key is None):
            raise CredentialError("a certificate of the client and its key go together: give both, or neither")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
            if self.cert is not None and self.key is not None:
                context.load_cert_chain(self.cert, self.key, password=_no_password)
        except OSError as error:  # of which ssl.SSLError is one
            files = [str(path) for path in (self.ca, self.cert, self.key) if path is not None]
            reason = error.reason if isinstance(error, ssl.SSLError) and error.reason else error.strerror or error
            raise CredentialError(f"cannot use {', '.join(files)} for TLS: {reason}") from None
        ca, cert, key = (None if path is None else path.read_bytes() for path in (self.ca, self.cert, self.key))
        return grpc.ssl_channel_credentials(ca, key, cert)

    @property
    def options(self) -> list[tuple[str, int | str]]:
        """Channel arguments of gRPC."""
        return [] if self.server_name is None else [("grpc.ssl_target_name_override", self.server_name)]


def open_channel(address: str, tls: Tls | None) -> grpc.Channel:
    """A channel; None: in plain text. Raises CredentialError."""
    if tls is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    return grpc.secure_channel(address, tls.credentials(), options=OPTIONS + tls.options)


def open_aio_channel(address: str, tls: Tls | None) -> grpc.aio.Channel:
    """The same for asyncio."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=OPTIONS)
    return grpc.aio.secure_channel(address, tls.credentials(), options=OPTIONS + tls.options)


def metadata_of(token: str | None, address: str, tls: Tls | None, *, plaintext_token: bool) -> Metadata:
    """What goes with every call, so that the server knows who makes it.

    Raises:
        CredentialError: the token is none, or others on the way could read it and `plaintext_token` does not allow that.

    """
    if token is None:
        return ()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialError("the token is none: it is one word of plain letters, digits and signs")
    if tls is None and not plaintext_token and not is_loopback(host_of(address)):
        raise CredentialError(
            f"the token would go to {address} in plain text, for all on the way to read: give --tls, or, where the way is"
            " protected otherwise, --allow-plaintext-token"
        )
    return (("authorization", f"Bearer {token}"),)


def host_of(address: str) -> str:
    """The host of a gRPC target such as "host:50051", "[::1]:50051" or "dns:///host:50051"; "localhost" of a Unix socket."""
    scheme, colon, rest = address.partition(":")
    if colon and scheme in {"unix", "unix-abstract"}:
        return "localhost"
    if colon and scheme in {"dns", "ipv4", "ipv6"}:
        address = rest.rpartition("/")[2]
    if address.startswith("[") or address.count(":") > 1:
        return address.partition("]")[0].strip("[") if "]" in address else address
    return address.partition(":")[0]


def _no_password() -> bytes:
    """OpenSSL would ask for one on the terminal."""
    return b""
