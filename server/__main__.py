"""holdfast serve --bundle DIR, or python -m server --bundle DIR: serve a bundle until SIGTERM."""

import os
import sys
from collections.abc import Sequence

from holdfast.environment import prepare_libraries
from holdfast.exit_status import exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; returns the exit status."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    # Everything else is imported after this: numpy, faiss and onnxruntime read the environment while they are loaded.
    prepare_libraries(os.environ)
    from holdfast.server.run import run  # noqa: PLC0415
    from holdfast.server.settings import load_settings  # noqa: PLC0415

    return exit_status("holdfast serve", lambda: run(load_settings(typed)))


if __name__ == "__main__":
    sys.exit(main())
