"""The flags by which commands connect, and the token that they send."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from holdfast.client.channel import CredentialError, Tls

TOKEN_VARIABLE = "HOLDFAST_TOKEN"  # noqa: S105 - the name of a variable


class Connection(TypedDict):
    """How a client connects: keyword arguments of Client, AsyncClient and AdminClient."""

    tls: Tls | None
    token: str | None
    plaintext_token: bool


def add_access_options(parser: argparse.ArgumentParser, variables: Sequence[str] = (TOKEN_VARIABLE,)) -> None:
    """Add the flags. There is none that is the token itself: others on the machine see what a command was started with."""
    parser.set_defaults(token_variables=tuple(variables))
    parser.add_argument("--tls", action="store_true", help="encrypt the connection; implied by the next four")
    parser.add_argument(
        "--ca", type=Path, metavar="FILE", help="signers of the server's certificate (default: the public web's)"
    )
    parser.add_argument("--cert", type=Path, metavar="FILE", help="certificate of this client, for a server that asks for one")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its private key")
    parser.add_argument("--server-name", metavar="NAME", help="name in the server's certificate, if not the address's")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"file with the token alone (default: {' or '.join(variables)})"
    )
    parser.add_argument(
        "--allow-plaintext-token", action="store_true", help="send the token to another machine even without --tls"
    )


def connection_of(options: argparse.Namespace) -> Connection:
    """How to connect by these flags. Raises CredentialError where the file holds no token."""
    files = options.ca, options.cert, options.key
    wanted = options.tls or options.server_name is not None or any(path is not None for path in files)
    return {
        "tls": Tls(*files, options.server_name) if wanted else None,
        "token": _token_of(options),
        "plaintext_token": options.allow_plaintext_token,
    }


def _token_of(options: argparse.Namespace) -> str | None:
    if options.token_file is not None:
        return read_token(options.token_file)
    return next((os.environ[name] for name in options.token_variables if os.environ.get(name)), None)


def read_token(path: Path) -> str:
    """The token of a file that holds it alone, as TOKEN or NAME:TOKEN.

    Raises:
        CredentialError: the file cannot be read, or holds something else.

    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialError(f"the token cannot be read: {error}") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    if lines and lines[0].startswith("{"):
        raise CredentialError(f"{path} is a server's file, which holds hashes: name one with the token that was printed")
    if len(lines) != 1:
        raise CredentialError(f"{path} has {len(lines)} tokens: name a file with the one that is to be used")
    parts = lines[0].split(":")
    return parts[0] if len(parts) == 1 else parts[1]
