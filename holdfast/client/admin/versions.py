"""holdfast versions: which version of the bundle a running server answers with."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from holdfast.client.admin.options import connect, connection_options, run_command
from holdfast.client.admin.records import VersionInfo
from holdfast.client.admin.tables import versions_table
from holdfast.console import Console
from holdfast.exit_status import DONE, explain_statuses

ABOUT = """\
Show the versions of the bundle that a running server knows, and change which one answers.

A version is verified, loaded and tried beside the served one, and swapped between two batches. One that fails leaves the served
one as it is, and its reason stands in the list.

examples:
  holdfast versions list
  holdfast versions reload                 the newest of --bundle-versions, or --bundle as it is now
  holdfast versions reload v12
  holdfast versions rollback               the one before
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    statuses, plain = explain_statuses(0, 1, 2, 130, 143), argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="holdfast versions", description=ABOUT, epilog=statuses, formatter_class=plain)
    commands, common = parser.add_subparsers(dest="command", required=True), connection_options()
    common.set_defaults(timeout=600.0)  # loading takes its time
    commands.add_parser("list", parents=[common], help="show the versions")
    reload = commands.add_parser("reload", parents=[common], help="serve another version")
    reload.add_argument("name", nargs="?", metavar="NAME", help="of the version; the newest by default")
    commands.add_parser("rollback", parents=[common], help="serve the previous version again")
    options = parser.parse_args(arguments)
    return run_command(f"holdfast versions {options.command}", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    with connect(options) as admin:
        if options.command == "list":
            _print(admin.versions(), as_json=options.json)
            return DONE
        version = admin.rollback() if options.command == "rollback" else admin.reload(options.name)
    if options.json:
        print(json.dumps(_fields(version), indent=2))
    else:
        print(f"version {version.name} is served now")
    return DONE


def _print(versions: Sequence[VersionInfo], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([_fields(each) for each in versions], indent=2))
    else:
        Console().print(versions_table(versions))


def _fields(version: VersionInfo) -> dict[str, Any]:
    loaded = version.loaded.isoformat() if version.loaded else None
    return {"name": version.name, "state": version.state, "loaded": loaded, "reason": version.reason}


if __name__ == "__main__":
    sys.exit(main())
