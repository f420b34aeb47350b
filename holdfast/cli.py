"""holdfast COMMAND: every program behind one name.

Nothing is imported before it is known which command it is: --help answers at once, and serving never loads torch.
"""

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, util
from typing import Any

from holdfast.environment import prepare_computing, prepare_libraries
from holdfast.errors import install_command
from holdfast.exit_status import DONE, REFUSED, exit_status, explain_statuses, run_main


@dataclass(frozen=True)
class Command:
    """A program, by the module that holds its main function.

    Attributes:
        about: what it does, one line of --help.
        example: one line that a person could type.
        module: where its `main(arguments) -> status` is; imported only when it is asked for.
        extra: of the installation, without which it cannot run.
        needs: top-level modules that this extra brings, and some other one may not.
        prepare: sets the environment that its libraries read while they are loaded.
        options: keyword arguments of its main function.
        before: arguments that go before the typed ones.

    """

    about: str
    example: str
    module: str
    extra: str
    needs: tuple[str, ...]
    prepare: Callable[[Any], None] = prepare_computing
    options: tuple[tuple[str, Any], ...] = ()
    before: tuple[str, ...] = ()


def load_torch_encoder(*arguments: Any, **options: Any) -> Any:
    """The torch encoder of a training run, for an evaluation that takes gradients from it; the trainer is imported here."""
    return import_module("holdfast.trainer.export.trained").load_trained(*arguments, **options)


COMMANDS = {
    "train": Command(
        "train an encoder and write its bundle",
        "holdfast train digits --out runs/digits",
        "holdfast.trainer.cli",
        "train",
        ("torch", "tyro", "onnx", "onnxscript", "safetensors"),
    ),
    "import": Command(
        "make a bundle of an image encoder that somebody else trained",
        "holdfast import vit.onnx --out runs/vit --mean 0.5 --std 0.5 --pool cls",
        "holdfast.trainer.importing.command",
        "train",
        ("torch", "onnx", "onnxscript", "onnxruntime"),
    ),
    "robustify": Command(
        "harden the encoder of a bundle, imported or trained, against attacks",
        "holdfast robustify --from runs/vit --data photos/ --out runs/vit-robust",
        "holdfast.trainer.hardening.command",
        "train",
        ("torch", "tyro", "onnx", "onnxscript", "safetensors"),
    ),
    "index": Command(
        "embed the labelled set, build and calibrate the index of a bundle",
        "holdfast index runs/digits",
        "holdfast.index_build.cli",
        "serve",
        ("onnxruntime", "faiss"),
    ),
    "quantise": Command(
        "make a bundle whose encoder computes in int8, for CPUs",
        "holdfast quantise runs/cifar10 runs/cifar10-int8",
        "holdfast.trainer.export.quantise",
        "train",
        ("torch", "onnx", "onnxruntime", "faiss"),
    ),
    "evaluate": Command(
        "attack a bundle and say how accurate and how robust it is",
        "holdfast evaluate runs/digits --images 400",
        "holdfast.evaluation.cli",
        "train",
        ("torch", "tyro", "onnxruntime", "faiss", "jinja2"),
        options=(("load_encoder", load_torch_encoder),),
    ),
    "hand-on": Command(
        "compare a bundle with the one that it is to replace, and hand it to the server if it has kept what that one knew",
        "holdfast hand-on runs/digits runs/digits-2 --to /models/digits",
        "holdfast.evaluation.handover",
        "train",
        ("torch", "onnxruntime", "faiss"),
    ),
    "serve": Command(
        "serve a bundle over gRPC until SIGTERM",
        "holdfast serve runs/digits",
        "holdfast.server.__main__",
        "serve",
        ("onnxruntime", "faiss", "grpc", "uvloop", "prometheus_client", "pydantic_settings"),
        prepare_libraries,
    ),
    "classify": Command(
        "classify image files by a running server",
        "holdfast classify cat.png --neighbours 4",
        "holdfast.client.__main__",
        "serve",
        ("grpc", "grpc_health", "grpc_status"),
        options=(("program", "holdfast"),),
        before=("classify",),
    ),
    "exemplars": Command(
        "add, look at and take out the labelled images of a running server",
        "holdfast exemplars add photos/",
        "holdfast.client.admin.commands",
        "serve",
        ("grpc", "grpc_status"),
    ),
    "versions": Command(
        "show and change which version of the bundle a running server answers with",
        "holdfast versions reload",
        "holdfast.client.admin.versions",
        "serve",
        ("grpc", "grpc_status"),
    ),
    "token": Command(
        "make, list and take back the tokens that a server asks its callers for",
        "holdfast token add olga --scope classify --file tokens.json",
        "holdfast.server.access.commands",
        "serve",
        (),
    ),
    "bundle": Command(
        "verify a bundle and say what it is, or copy it",
        "holdfast bundle check runs/digits",
        "holdfast.bundle.__main__",
        "serve",
        ("onnxruntime", "faiss"),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return exit_status("holdfast", lambda: _main(list(sys.argv[1:] if arguments is None else arguments)))


def _main(typed: list[str]) -> int:
    if not typed or typed[0] in {"-h", "--help"}:
        print(explain())
        return DONE if typed else REFUSED
    if typed[0] == "--version":
        print(f"holdfast {version()}")
        return DONE
    command = COMMANDS.get(typed[0])
    if command is None:
        return _refuse(f"holdfast: there is no command {typed[0]!r}{_alike(typed[0])}; holdfast --help lists them")
    absent = [name for name in command.needs if util.find_spec(name) is None]
    if absent:
        install = install_command(command.extra)
        return _refuse(f"holdfast {typed[0]}: needs {', '.join(absent)}, not installed here; {install} brings it")
    command.prepare(os.environ)
    return run_main(f"holdfast {typed[0]}", command.module, [*command.before, *typed[1:]], **dict(command.options))


def explain() -> str:
    """The text of --help."""
    lines = [
        "usage: holdfast COMMAND ...",
        "",
        "Train, index, evaluate and serve image classifiers whose answers hold under attack.",
    ]
    lines += ["", "commands:", *(f"  {name:<10} {command.about}" for name, command in COMMANDS.items())]
    lines += ["", "examples:", *(f"  {command.example}" for command in COMMANDS.values())]
    lines += [
        "",
        "options:",
        "  -h, --help   this text; holdfast COMMAND --help tells all about one",
        "  --version    the version",
    ]
    return "\n".join([*lines, "", explain_statuses()])


def version() -> str:
    """Of the installed package; "unknown" where it runs from a folder without having been installed."""
    from importlib import metadata  # noqa: PLC0415 - takes longer than all else that --help needs

    try:
        return metadata.version("holdfast")
    except metadata.PackageNotFoundError:
        return "unknown"


def _alike(name: str) -> str:
    alike = difflib.get_close_matches(name, COMMANDS, n=1)
    return f", did you mean {alike[0]!r}?" if alike else ""


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
