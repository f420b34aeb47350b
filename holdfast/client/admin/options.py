"""What every command of an operator has in common: where the server is, the token, and how errors end."""

import argparse
import sys
from collections.abc import Callable

import grpc

from holdfast.client.admin.client import ADMIN_ADDRESS, AdminClient
from holdfast.client.errors import ClientError
from holdfast.client.options import add_access_options, connection_of
from holdfast.exit_status import FAILED, REFUSED, exit_status
from holdfast.flags import positive

TOKEN_VARIABLES = "HOLDFAST_ADMIN_TOKEN", "HOLDFAST_TOKEN"

_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
}
"""Calls that were understood and refused; all others failed."""


def connection_options() -> argparse.ArgumentParser:
    """Flags that every command takes."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--address", default=ADMIN_ADDRESS, help="host:port of the admin service (default: %(default)s)")
    common.add_argument(
        "--timeout", type=positive, metavar="SECONDS", default=60.0, help="seconds a call may take (default: %(default)s)"
    )
    common.add_argument("--json", action="store_true", help="print JSON instead of text")
    add_access_options(common, TOKEN_VARIABLES)
    return common


def connect(options: argparse.Namespace) -> AdminClient:
    """A client by these flags. Raises HoldfastError where the file holds no token."""
    return AdminClient(options.address, timeout=options.timeout, **connection_of(options))


def run_command(program: str, run: Callable[[], int]) -> int:
    """The exit status of a command; what the server says is one line on stderr."""

    def ask() -> int:
        try:
            return run()
        except (ClientError, OSError) as error:
            print(f"{program}: {error}", file=sys.stderr)
            return REFUSED if isinstance(error, ClientError) and error.code in _REFUSALS else FAILED

    return exit_status(program, ask)
