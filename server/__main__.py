"""python -m server --bundle DIR: serve a bundle until SIGTERM."""

import logging
import os
import sys

from bundle.errors import HoldfastError
from server.environment import prepare_libraries
from server.settings import Settings, load_settings


def main() -> int:
    """Exit status: 0 after a graceful end, 1 where calls were cut off, 2 for settings or a bundle that will not do."""
    try:
        settings = load_settings(sys.argv[1:])
        prepare_libraries(os.environ)
        return _serve(settings)
    except HoldfastError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return 2


def _serve(settings: Settings) -> int:
    # After prepare_libraries: these import numpy, faiss and onnxruntime. And --help need not wait for them.
    from bundle.bundle import Bundle  # noqa: PLC0415
    from server.run import run  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return run(settings, Bundle.open(settings.bundle, threads=settings.threads))


if __name__ == "__main__":
    sys.exit(main())
