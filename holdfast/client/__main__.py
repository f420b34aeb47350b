"""holdfast classify IMAGE ... and python -m holdfast.client classify | info | health: ask a running server."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from holdfast.client.channel import ADDRESS, PER_CALL
from holdfast.client.errors import ClientError, ImageRefusedError, MessageTooLargeError
from holdfast.client.health import serving_status
from holdfast.client.messages import SIGMA
from holdfast.client.options import add_access_options, connection_of
from holdfast.client.sync import Client
from holdfast.client.tables import answer_as_json, answers_view, model_as_json, model_table
from holdfast.console import Console, track
from holdfast.errors import HoldfastError
from holdfast.exit_status import DONE, FAILED, REFUSED, exit_status, explain_statuses
from holdfast.flags import positive, whole_number

REFUSALS = ImageRefusedError, MessageTooLargeError

ABOUT = """\
Ask a running holdfast server.

examples:
  holdfast classify cat.png dog.png --neighbours 4       a table: answer, credibility, the nearest exemplars
  holdfast classify *.png --json                         the same for a program
  holdfast classify voice.wav                            who speaks, where the server listens to recordings
  python -m holdfast.client info                         what is served: classes, threat model, measured accuracy
  python -m holdfast.client health                       status 0 if the server takes calls, else 1
  holdfast classify cat.png --address host:50051 --ca ca.pem --token-file mine.token      encrypted, with a token

A token is read from the file that --token-file names, or from HOLDFAST_TOKEN.
"""


def main(arguments: Sequence[str] | None = None, *, program: str = "python -m holdfast.client") -> int:
    """Run one command; returns the exit status. `program` is what --help calls it."""
    options = _parser(program).parse_args(arguments)
    command = {"classify": classify, "info": info, "health": health}[options.command]

    def ask() -> int:
        try:
            return command(options)
        except ClientError as error:
            print(f"holdfast {options.command}: {error}", file=sys.stderr)
            return REFUSED if isinstance(error, REFUSALS) else FAILED

    return exit_status(f"holdfast {options.command}", ask)


def classify(options: argparse.Namespace) -> int:
    """Classifies files, many in one call, and prints a row for each."""
    paths: list[Path] = options.images
    _check_files(paths)
    calls = [paths[i : i + PER_CALL] for i in range(0, len(paths), PER_CALL)]
    bar = Console(stderr=True)
    asked = {name: getattr(options, name) for name in ("neighbours", "certificates", "certify", "sigma")}
    with Client(options.address, timeout=options.timeout, **connection_of(options)) as client:
        outcomes = [
            outcome
            for call in track(calls, "classifying", console=bar, disable=len(calls) < 2, transient=True)
            for outcome in client.classify_many(call, **asked)
        ]
    if options.json:
        print(json.dumps([answer_as_json(p, o) for p, o in zip(paths, outcomes, strict=True)], indent=2))
    else:
        shown = {"neighbours": options.neighbours > 0, "certificates": options.certificates, "smoothing": options.certify > 0}
        Console().print(answers_view(paths, outcomes, **shown))
    if any(isinstance(outcome, REFUSALS) for outcome in outcomes):
        return REFUSED
    return FAILED if any(isinstance(outcome, ClientError) for outcome in outcomes) else DONE


def info(options: argparse.Namespace) -> int:
    """Prints what is served."""
    with Client(options.address, timeout=options.timeout, **connection_of(options)) as client:
        model = client.model_info()
    if options.json:
        print(json.dumps(model_as_json(model), indent=2))
    else:
        Console().print(model_table(model))
    return DONE


def health(options: argparse.Namespace) -> int:
    """Prints the server's health; 0 only if it is SERVING."""
    status = serving_status(options.address, options.timeout, connection_of(options)["tls"])
    print(json.dumps({"status": status}) if options.json else status)
    return DONE if status == "SERVING" else FAILED


def _parser(program: str) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--address", default=ADDRESS, help="host:port of the server (default: %(default)s)")
    common.add_argument(
        "--timeout", type=positive, metavar="SECONDS", default=10.0, help="seconds a call may take (default: %(default)s)"
    )
    common.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_access_options(common)
    statuses, plain = explain_statuses(0, 1, 2, 130, 143), argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=program, description=ABOUT, epilog=statuses, formatter_class=plain)
    commands = parser.add_subparsers(dest="command", required=True)
    images = commands.add_parser(
        "classify",
        parents=[common],
        help="classify image files",
        description=ABOUT,
        epilog=statuses,
        formatter_class=plain,
    )
    _add_classify_options(images)
    commands.add_parser("info", parents=[common], help="show what is served")
    commands.add_parser("health", parents=[common], help="exit with 0 if the server takes calls")
    return parser


def _add_classify_options(images: argparse.ArgumentParser) -> None:
    """What is classified, and what is asked for beside labels."""
    images.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="a PNG, JPEG or WebP file; a WAV file for a model that listens"
    )
    images.add_argument("--neighbours", type=whole_number(0), default=0, metavar="K", help="also show the K nearest exemplars")
    images.add_argument(
        "--certificates",
        action="store_true",
        help="also show what would change each label: exemplars inserted, or a move of the embedding",
    )
    images.add_argument(
        "--certify",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="also smooth each answer by N draws of noise, for a radius in L2; each costs the server what an image does",
    )
    images.add_argument(
        "--sigma",
        type=positive,
        default=SIGMA,
        help="deviation of that noise, in pixels of [0, 1] (default: %(default)s)",
    )


def _check_files(paths: Sequence[Path]) -> None:
    """Raises HoldfastError before anything is sent, where a path is no file."""
    missing = [str(p) for p in paths if not p.is_file()]
    if missing:
        raise HoldfastError(f"not a file: {', '.join(missing)}; give the paths of PNG, JPEG, WebP or WAV files")


if __name__ == "__main__":
    sys.exit(main())
