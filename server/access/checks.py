"""What is wrong with the files of a listener, found before anything costly is done."""

from datetime import UTC, datetime

from holdfast.server.access.files import ListenerAccess
from holdfast.server.access.token_file import read_table


def check_access(access: ListenerAccess) -> None:
    """Read the files that are set for a listener, and forget them. They are read again when it is made.

    Raises:
        HoldfastError: one cannot be used; says which.

    """
    if access.token_file is not None:
        read_table(access.token_file, warn=False)
    if access.certificate is not None:
        from holdfast.server.access.certificates import read_certificates  # noqa: PLC0415 - brings cryptography, for TLS alone

        read_certificates(access.certificate, datetime.now(UTC))
