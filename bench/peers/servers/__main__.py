"""Serve a bundle by one of the peers, in the environment that it is installed in.

python -m bench.peers.servers NAME --bundle DIR --port PORT
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

from holdfast.environment import prepare_libraries
from holdfast.flags import positive, whole_number


def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers.servers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of a module beside this one, without its ending")
    parser.add_argument("--bundle", type=Path, required=True, help="its directory")
    parser.add_argument("--port", type=whole_number(1), required=True, help="of 127.0.0.1")
    parser.add_argument("--batch", type=whole_number(1), default=64, help="most images in one (default: %(default)s)")
    parser.add_argument("--wait", type=positive, default=0.01, help="seconds for a batch to fill (default: %(default)s)")
    parser.add_argument("--deadline", type=positive, default=60.0, help="of callers, in seconds (default: %(default)s)")
    found = parser.parse_args()
    prepare_libraries(os.environ)
    # Imported here: numerical libraries read the environment when they are imported.
    from bench.peers.servers.served import PeerOptions  # noqa: PLC0415

    options = PeerOptions(found.bundle.resolve(), found.port, found.batch, found.wait, found.deadline)
    options.export()
    sys.argv[1:] = []  # some of them read it for flags of their own
    importlib.import_module(f"bench.peers.servers.{found.name}").serve(options)


if __name__ == "__main__":
    main()
