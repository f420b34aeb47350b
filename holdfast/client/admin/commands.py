"""holdfast exemplars: what an operator does with the labelled images of a server that answers meanwhile."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from holdfast.client.admin.adding import add
from holdfast.client.admin.client import AdminClient
from holdfast.client.admin.exporting import export
from holdfast.client.admin.options import connect, connection_options, run_command
from holdfast.client.admin.tables import (
    exemplar_as_json,
    exemplar_table,
    exemplars_table,
    labels_table,
    reason_lines,
    status_table,
)
from holdfast.console import Console, counted
from holdfast.errors import HoldfastError
from holdfast.exit_status import DONE, explain_statuses
from holdfast.files import write_atomically
from holdfast.flags import whole_number

ABOUT = """\
Add, look at and take out the labelled images that a running server answers by.

The server is started with --store DIR and --token-file FILE, and answers meanwhile: what is acknowledged here is on its
disk, and is seen by every call that begins afterwards. New exemplars are judged before they vote. Doubtful ones wait in
quarantine, where `list --state quarantined` shows them with the reason, until they are approved or dropped.

examples:
  holdfast exemplars add photos/                       a folder of class folders; run again, it adds only what is new
  holdfast exemplars add lynx1.jpg lynx2.jpg --label lynx      a new class begins with its first exemplars
  holdfast exemplars list --state quarantined          what waits, and why
  holdfast exemplars approve 50012 50013               let these vote; drop throws them away
  holdfast exemplars relabel 50012 --label bobcat
  holdfast exemplars export kept/                      pictures by class, and a table that holdfast index takes

The token is read from the file that --token-file names, or from HOLDFAST_ADMIN_TOKEN or HOLDFAST_TOKEN.
"""

CHANGED_AT_ONCE = 200
"""Exemplars in one call that changes them, where the server takes as many."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    return run_command(f"holdfast exemplars {options.command}", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    with connect(options) as admin:
        return COMMANDS[options.command](admin, options)


def list_exemplars(admin: AdminClient, options: argparse.Namespace) -> int:
    """Prints a row for each."""
    listed = list(islice(admin.exemplars(label=options.label, state=options.state), options.limit + 1))
    shown = listed[: options.limit]
    if options.json:
        print(json.dumps([exemplar_as_json(each) for each in shown], indent=2))
    else:
        Console().print(exemplars_table(shown))
        print(*reason_lines(shown), sep="\n", end="\n" * bool(reason_lines(shown)))
    if len(listed) > len(shown):
        print(f"there are more than {options.limit:,}: --limit shows more, --label and --state fewer", file=sys.stderr)
    return DONE


def labels(admin: AdminClient, options: argparse.Namespace) -> int:
    """Prints the classes."""
    found = admin.labels()
    if options.json:
        print(json.dumps([{"index": each.index, "name": each.name, "exemplars": each.exemplars} for each in found], indent=2))
    else:
        Console().print(labels_table(found))
    return DONE


def show(admin: AdminClient, options: argparse.Namespace) -> int:
    """Prints one, and writes its picture where that is asked for."""
    exemplar, picture = admin.exemplar(options.id)
    if options.json:
        print(json.dumps(exemplar_as_json(exemplar), indent=2))
    else:
        Console().print(exemplar_table(exemplar, kept=bool(picture)))
    if options.picture is not None:
        if not picture:
            raise HoldfastError(f"the server keeps no picture of exemplar {options.id}: it keeps them with --keep-images")
        write_atomically(options.picture, picture)
    return DONE


def relabel(admin: AdminClient, options: argparse.Namespace) -> int:
    """Gives exemplars another class."""
    held: list[int] = []

    def change(part: Sequence[int]) -> None:
        states = admin.relabel(dict.fromkeys(part, options.label))
        held.extend(number for number, state in states.items() if state == "quarantined")

    def report(made: Sequence[int]) -> None:
        if options.json:
            print(json.dumps({"relabelled": made, "label": options.label, "quarantined": held}, indent=2))
            return
        print(f"relabelled {counted(len(made), 'exemplar')} as {options.label}")
        if held:
            print(f"{len(held):,} of them wait in quarantine: {' '.join(map(str, held))}")

    _in_parts(admin, change, options.ids, report)
    return DONE


def remove(admin: AdminClient, options: argparse.Namespace) -> int:
    """Takes exemplars out of the vote."""
    return _change(admin, admin.delete, options.ids, "deleted", options)


def approve(admin: AdminClient, options: argparse.Namespace) -> int:
    """Lets exemplars in quarantine vote."""
    return _change(admin, admin.approve, _waiting(admin, options), "approved", options)


def drop(admin: AdminClient, options: argparse.Namespace) -> int:
    """Throws exemplars in quarantine away."""
    return _change(admin, admin.drop, _waiting(admin, options), "dropped", options)


def status(admin: AdminClient, options: argparse.Namespace) -> int:
    """Prints how much there is of everything."""
    found = admin.status()
    if options.json:
        print(json.dumps({name: getattr(found, name) for name in found.__slots__}, indent=2))
    else:
        Console().print(status_table(found))
    return DONE


def _change(
    admin: AdminClient, change: Callable[[Sequence[int]], int], named: Sequence[int], done: str, options: argparse.Namespace
) -> int:
    def report(made: Sequence[int]) -> None:
        print(json.dumps({done: made}, indent=2) if options.json else f"{done} {counted(len(made), 'exemplar')}")

    _in_parts(admin, change, named, report)
    return DONE


def _in_parts(
    admin: AdminClient, change: Callable[[Sequence[int]], object], named: Sequence[int], report: Callable[[Sequence[int]], None]
) -> None:
    """Change exemplars, each once, a part at a time. Where one fails, those of the parts before it are reported."""
    ids, made = list(dict.fromkeys(named)), 0
    most = min(CHANGED_AT_ONCE, admin.status().images_per_call) if len(ids) > 1 else 1
    try:
        for part in (ids[start : start + most] for start in range(0, len(ids), most)):
            change(part)
            made += len(part)
    except BaseException:
        if made:
            report(ids[:made])
            rest = f"the other {len(ids) - made:,}, from {ids[made]} on, were not acknowledged: give those again"
            print(rest, file=sys.stderr)
        raise
    report(ids)


def _waiting(admin: AdminClient, options: argparse.Namespace) -> Sequence[int]:
    if bool(options.ids) == options.all:
        raise HoldfastError("name the ids of exemplars in quarantine, or give --all")
    return options.ids or [each.id for each in admin.exemplars(state="quarantined", label=options.label)]


COMMANDS: dict[str, Callable[[AdminClient, Any], int]] = {
    "add": add,
    "list": list_exemplars,
    "labels": labels,
    "show": show,
    "relabel": relabel,
    "rm": remove,
    "approve": approve,
    "drop": drop,
    "export": export,
    "status": status,
}


def _parser() -> argparse.ArgumentParser:
    statuses, plain = explain_statuses(0, 1, 2, 130, 143), argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="holdfast exemplars", description=ABOUT, epilog=statuses, formatter_class=plain)
    commands, common = parser.add_subparsers(dest="command", required=True), connection_options()
    adding = commands.add_parser("add", parents=[common], help="add images: a folder of class folders, a table, or files")
    adding.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a folder, a .csv of path,label, or image files")
    adding.add_argument("--label", metavar="NAME", help="class of all files; without it the folders' names are the classes")
    adding.add_argument("--all-or-nothing", action="store_true", help="stop at a batch with an image that cannot be used")
    adding.add_argument("--again", action="store_true", help="also add what is there already")
    adding.add_argument(
        "--batch", type=whole_number(1), default=64, metavar="N", help="images in one call, at most (default: %(default)s)"
    )
    for name, text in (("list", "show exemplars"), ("export", "write exemplars to a directory")):
        listing = commands.add_parser(name, parents=[common], help=text)
        listing.add_argument("--label", metavar="NAME", help="of this class only")
        listing.add_argument("--state", choices=("served", "quarantined", "deleted"), help="default: all but the deleted")
        if name == "list":
            listing.add_argument("--limit", type=whole_number(1), default=100, metavar="N", help="rows (default: %(default)s)")
        else:
            listing.add_argument("directory", type=Path, metavar="DIR", help="where to; empty, or not there yet")
    commands.add_parser("labels", parents=[common], help="show the classes and how many exemplars each has")
    one = commands.add_parser("show", parents=[common], help="show one exemplar")
    one.add_argument("id", type=whole_number(0, 2**62), metavar="ID")
    one.add_argument("--picture", type=Path, metavar="FILE", help="write its picture there, as PNG")
    for name, text in (("relabel", "give exemplars another class"), ("rm", "take exemplars out of the vote")):
        changing = commands.add_parser(name, parents=[common], help=text)
        changing.add_argument("ids", nargs="+", type=whole_number(0, 2**62), metavar="ID")
        if name == "relabel":
            changing.add_argument("--label", required=True, metavar="NAME", help="the class")
    for name, text in (("approve", "let exemplars in quarantine vote"), ("drop", "throw exemplars in quarantine away")):
        waiting = commands.add_parser(name, parents=[common], help=text)
        waiting.add_argument("ids", nargs="*", type=whole_number(0, 2**62), metavar="ID")
        waiting.add_argument("--all", action="store_true", help="all that are in quarantine")
        waiting.add_argument("--label", metavar="NAME", help="with --all: of this class only")
    commands.add_parser("status", parents=[common], help="show how much there is of everything")
    return parser


if __name__ == "__main__":
    sys.exit(main())
