"""What others on the network could do with this server, as far as nobody has said that they may not."""

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.client.loopback import is_loopback
from holdfast.errors import HoldfastError
from holdfast.server.access.files import ListenerAccess
from holdfast.server.settings import Settings


@dataclass(frozen=True, slots=True)
class OperatorOffer:
    """A listener for operators.

    Attributes:
        does: what it is and does, for messages.
        host: the setting of its address.

    """

    does: str
    host: str


ADMIN_OFFER = OperatorOffer("the admin service changes what is served", "admin_host")
PAGE_OFFER = OperatorOffer("the page shows what is served and changes it", "page_host")


def check_offer(settings: Settings, offer: OperatorOffer) -> None:
    """Refuse to offer it to everybody. Raises HoldfastError."""
    host: str = getattr(settings, offer.host)
    flag = "--" + offer.host.replace("_", "-")
    if settings.admin_access.token_file is None and not settings.admin_insecure:
        raise HoldfastError(
            f"{offer.does}, and asks for tokens: make one with holdfast token add operator"
            " --scope admin --file tokens.json, and give --token-file tokens.json; to try it out on this machine alone, give"
            " --admin-insecure"
        )
    if settings.admin_insecure and not is_loopback(host):
        raise HoldfastError(
            f"--admin-insecure is for this machine alone, and {flag} {host} can be reached from others:"
            " leave it at 127.0.0.1, or give a file of tokens"
        )


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
