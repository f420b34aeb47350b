"""Whether the page may be offered, as far as settings tell."""

from holdfast.client.loopback import is_loopback
from holdfast.errors import HoldfastError
from holdfast.server.settings import Settings


def check_page(settings: Settings) -> None:
    """Refuse to show the page to everybody. Raises HoldfastError."""
    if settings.admin_access.token_file is None and not settings.admin_insecure:
        raise HoldfastError(
            "the page shows what is served and changes it, and asks for tokens: make one with holdfast token add operator"
            " --scope admin --file tokens.json, and give --token-file tokens.json; to try it out on this machine alone, give"
            " --admin-insecure"
        )
    if settings.admin_insecure and not is_loopback(settings.page_host):
        raise HoldfastError(
            f"--admin-insecure is for this machine alone, and --page-host {settings.page_host} can be reached from others:"
            " leave it at 127.0.0.1, or give a file of tokens"
        )
