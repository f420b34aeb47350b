"""python -m server --bundle DIR: serve a bundle until SIGTERM."""

import os
import sys

from holdfast.environment import prepare_libraries


def main() -> int:
    """Exit status: 0 after a graceful end, 1 where calls were cut off, 2 for settings, bundle or device that will not do."""
    # Everything else is imported after this: numpy, faiss and onnxruntime read the environment while they are loaded.
    prepare_libraries(os.environ)
    from holdfast.errors import HoldfastError  # noqa: PLC0415
    from holdfast.server.run import run  # noqa: PLC0415
    from holdfast.server.settings import load_settings  # noqa: PLC0415

    try:
        return run(load_settings(sys.argv[1:]))
    except HoldfastError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
