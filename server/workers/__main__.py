"""python -m holdfast.server.workers DATA CONTROL: a worker process, which the engine starts with its two sockets."""

import socket
import sys


def main() -> int:
    """Exit status: 0 after a drain, 1 where it could not start or has lost the engine."""
    if len(sys.argv) != 3:
        print("worker processes are started by python -m server --workers N", file=sys.stderr)
        return 2
    from holdfast.server.workers.worker import run  # noqa: PLC0415 - takes most of a second, which help need not wait for

    data, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    return run(data, control)


if __name__ == "__main__":
    sys.exit(main())
