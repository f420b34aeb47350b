"""What others on the network could do with this server, as far as nobody has said that they may not."""

from collections.abc import Iterator

from holdfast.client.loopback import is_loopback
from holdfast.server.access.files import ListenerAccess
from holdfast.server.settings import Settings


def exposures(settings: Settings) -> Iterator[str]:
    """A sentence for each thing that is open on an address that others reach; none where only this machine does."""
    if not is_loopback(settings.host):
        for what in ("gRPC", *(["HTTP"] if settings.http_port is not None else [])):
            yield from _of_grpc(what, settings.host, settings.public_access)
    if settings.offers_admin and not is_loopback(settings.admin_host):
        yield from _of_grpc("the admin service", settings.admin_host, settings.admin_access)
    if settings.page_port is not None and not is_loopback(settings.page_host):
        yield from _of_grpc("the page", settings.page_host, settings.admin_access)
    if not is_loopback(settings.metrics_at):
        yield (
            f"metrics on {settings.metrics_at} are shown to whoever reaches them, without encryption: --metrics-host 127.0.0.1"
            " keeps them on this machine"
        )


def _of_grpc(what: str, host: str, access: ListenerAccess) -> Iterator[str]:
    if access.certificate is None:
        read = "images, answers and tokens" if access.token_file is not None else "images and answers"
        yield f"{what} on {host} is not encrypted: whoever is on the way may read {read}; give --tls-cert and --tls-key"
    if access.token_file is None and (access.certificate is None or access.certificate.client_ca is None):
        yield f"{what} on {host} answers whoever reaches it: give --token-file, or --tls-client-ca"
