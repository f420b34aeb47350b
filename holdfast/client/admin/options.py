"""What every command of an operator has in common: where the server is, the token, and how errors end."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import grpc

from holdfast.client.admin.client import ADMIN_ADDRESS, AdminClient
from holdfast.client.errors import ClientError
from holdfast.errors import HoldfastError
from holdfast.exit_status import FAILED, REFUSED, exit_status
from holdfast.flags import positive

TOKEN_VARIABLE = "HOLDFAST_ADMIN_TOKEN"  # noqa: S105 - the name of a variable

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
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"file with the token, as TOKEN or NAME:TOKEN (default: {TOKEN_VARIABLE})",
    )
    common.add_argument(
        "--timeout", type=positive, metavar="SECONDS", default=60.0, help="seconds a call may take (default: %(default)s)"
    )
    common.add_argument("--json", action="store_true", help="print JSON instead of text")
    return common


def connect(options: argparse.Namespace) -> AdminClient:
    """A client by these flags. Raises HoldfastError where the file holds no token."""
    return AdminClient(options.address, _token(options.token_file), timeout=options.timeout)


def run_command(program: str, run: Callable[[], int]) -> int:
    """The exit status of a command; what the server says is one line on stderr."""

    def ask() -> int:
        try:
            return run()
        except (ClientError, OSError) as error:
            print(f"{program}: {error}", file=sys.stderr)
            return REFUSED if isinstance(error, ClientError) and error.code in _REFUSALS else FAILED

    return exit_status(program, ask)


def _token(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise HoldfastError(f"the token cannot be read: {error}") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) != 1:
        raise HoldfastError(f"{path} has {len(lines)} tokens: name a file with the one that is to be used")
    parts = lines[0].split(":")
    return parts[0] if len(parts) == 1 else parts[1]
