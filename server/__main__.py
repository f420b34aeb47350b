"""holdfast serve BUNDLE, or python -m server BUNDLE: serve a bundle until SIGTERM."""

import logging
import os
import sys
from collections.abc import Sequence

from holdfast.environment import prepare_libraries
from holdfast.exit_status import exit_status
from holdfast.interrupts import interrupts_held
from holdfast.server.telemetry.logs import configure_logging, wanted_format
from holdfast.waiting import waiting

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; returns the exit status."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if typed and not typed[0].startswith("-"):  # as every other command takes its bundle
        typed = ["--bundle", *typed]
    configure_logging(wanted_format(typed))
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells which of its builds it tries, as if that were a fault
    # Everything else is imported after this: numpy, faiss and onnxruntime read the environment while they are loaded.
    prepare_libraries(os.environ)
    return exit_status("holdfast serve", lambda: _serve(typed))


def _serve(typed: list[str]) -> int:
    with interrupts_held(), waiting(log, "loading the libraries"):
        from holdfast.server.run import run  # noqa: PLC0415
        from holdfast.server.settings import load_settings  # noqa: PLC0415

    return run(load_settings(typed))


if __name__ == "__main__":
    sys.exit(main())
