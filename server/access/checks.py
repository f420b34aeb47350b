"""What can be known of the files of tokens and certificates before anything listens."""

from datetime import UTC, datetime

from holdfast.server.access.files import ListenerAccess
from holdfast.server.access.token_file import read_table


def check_access(access: ListenerAccess) -> None:
    """Read them once, where others than this process will use them. Raises HoldfastError."""
    if access.token_file is not None:
        read_table(access.token_file)
    if access.certificate is not None:
        from holdfast.server.access.certificates import read_certificates  # noqa: PLC0415 - for servers with TLS

        read_certificates(access.certificate, datetime.now(UTC))
