"""holdfast token: make, list and take back the tokens that a server asks its callers for."""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.table import Table

from holdfast.console import Console
from holdfast.exit_status import DONE, exit_status, explain_statuses
from holdfast.files import write_new
from holdfast.server.access.editing import add_token, migrate_tokens, read_for_editing, remove_token
from holdfast.server.access.scopes import Scope
from holdfast.server.access.tokens import TokenFileError, TokenTable, new_token, record_of

ABOUT = """\
Make, list and take back the tokens that a server asks its callers for (holdfast serve --token-file FILE).

The file keeps hashes: a token is shown once, when it is made. `--out` writes it to a file that nobody else may read; without
it, the token is printed. A server reads the file of tokens again as soon as it changes.

scopes:
  classify     labels with their figures
  embed        embeddings and neighbours, and the neighbours' sources where the server reveals them
  admin:read   see exemplars, versions and status
  admin        change them, too

examples:
  holdfast token add camera-7 --scope classify --file tokens.json --out camera-7.token
  holdfast token add olga --scope admin --expires 90d --file tokens.json
  holdfast token list --file tokens.json
  holdfast token remove camera-7 --file tokens.json
"""

FILE_VARIABLE = "HOLDFAST_TOKEN_FILE"

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
MOST_AHEAD = timedelta(days=36_500)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.file is None:
        parser.error(f"name the file of tokens, by --file FILE or {FILE_VARIABLE}")
    command = {"add": add, "list": list_tokens, "remove": remove, "migrate": migrate}[options.command]
    return exit_status(f"holdfast token {options.command}", lambda: command(options))


def add(options: argparse.Namespace) -> int:
    """Makes a token and prints it or writes it to a file of its own, the only time that it is seen."""
    token = new_token()
    expires = None if options.expires is None else datetime.now(UTC).replace(microsecond=0) + options.expires
    record = record_of(token, options.name, frozenset(map(Scope, options.scope)), expires)
    until = "" if expires is None else f" until {expires:%Y-%m-%d %H:%M} UTC"
    may = f"{options.name} may {', '.join(sorted(options.scope))}{until}"
    if options.out is None:
        add_token(options.file, record)
        print(f"{may}; this is the only time the token is shown", file=sys.stderr)
        print(token)
    else:
        with _written(token, options.out):
            add_token(options.file, record)
        print(f"{may}; its token is in {options.out}, which nobody else may read", file=sys.stderr)
    return DONE


@contextmanager
def _written(token: str, path: Path) -> Iterator[None]:
    """A new file that holds a token, and is gone again where what follows fails."""
    try:
        write_new(path, f"{token}\n".encode(), mode=0o600)
    except FileExistsError:
        raise TokenFileError(
            f"{path} is there already, and may hold a token that is in use: name another file by --out"
        ) from None
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def list_tokens(options: argparse.Namespace) -> int:
    """Prints a row for each."""
    table = read_for_editing(options.file)
    if options.json:
        rows = [each.model_dump(mode="json", exclude={"sha256"}) for each in table.tokens]
        print(json.dumps(rows, indent=2))
    else:
        Console().print(_view(table))
    return DONE


def remove(options: argparse.Namespace) -> int:
    """Takes a token back."""
    remove_token(options.file, options.name)
    print(f"{options.name} is removed: servers that follow {options.file} refuse its token within a second")
    return DONE


def migrate(options: argparse.Namespace) -> int:
    """Puts hashes in the place of the tokens of a file of earlier versions."""
    table = migrate_tokens(options.file)
    print(f"{options.file} holds the hashes of {len(table.tokens)} tokens now; all of them are valid as before")
    return DONE


def _view(table: TokenTable) -> Table:
    now, view = datetime.now(UTC), Table("name", "scopes", "created", "expires")
    for each in table.tokens:
        if each.expires is None:
            expires = "never"
        else:
            expires = f"{each.expires:%Y-%m-%d %H:%M}" + (", expired" if each.expired(now) else "")
        view.add_row(each.name, " ".join(sorted(each.scopes)), f"{each.created:%Y-%m-%d}", expires)
    return view


def _duration(typed: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([mhdw])", typed)
    if found is None or not timedelta(0) < (length := int(found[1]) * _UNITS[found[2]]) <= MOST_AHEAD:
        raise argparse.ArgumentTypeError(f"must be a time such as 12h, 90d or 52w, not {typed}")
    return length


def _parser() -> argparse.ArgumentParser:
    statuses, plain = explain_statuses(0, 2, 130, 143), argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="holdfast token", description=ABOUT, epilog=statuses, formatter_class=plain)
    common = argparse.ArgumentParser(add_help=False)
    named = os.environ.get(FILE_VARIABLE)
    common.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        default=Path(named) if named else None,
        help=f"the file of tokens (default: {FILE_VARIABLE})",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", parents=[common], help="make a token, and print it or write it to a file")
    adding.add_argument("name", metavar="NAME", help="who holds it; audit trail and log name calls by it")
    adding.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=list(map(str, Scope)),
        metavar="SCOPE",
        help="what it allows; again for more",
    )
    adding.add_argument(
        "--expires", type=_duration, metavar="TIME", help="how long it is valid, such as 12h or 90d; without: always"
    )
    adding.add_argument(
        "--out", type=Path, metavar="FILE", help="write the token to a new file, for its owner alone, instead of printing it"
    )
    listing = commands.add_parser("list", parents=[common], help="show names, scopes and dates")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    removing = commands.add_parser("remove", parents=[common], help="take a token back")
    removing.add_argument("name", metavar="NAME", help="whose it is")
    commands.add_parser("migrate", parents=[common], help="replace the tokens in a file of an earlier version by their hashes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
