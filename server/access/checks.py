"""What can be known of the files of tokens and certificates before anything listens."""

from holdfast.server.access.token_file import read_table
from holdfast.server.settings import Settings


def check_access(settings: Settings) -> None:
    """Read them once, where others than this process will use them. Raises HoldfastError."""
    if settings.token_file is not None:
        read_table(settings.token_file)
