"""python -m server.workers DATA CONTROL: a worker process, started by the engine with the numbers of its two sockets."""

import socket
import sys


def main() -> int:
    """Exit status: 0 after a drain, 1 where it could not start or has lost the engine."""
    if len(sys.argv) != 3:
        print("worker processes are started by python -m server --workers N", file=sys.stderr)
        return 2
    from holdfast.server.workers.worker import run  # noqa: PLC0415 - most of a second, which who asks for help need not wait

    data, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    return run(data, control)


if __name__ == "__main__":
    sys.exit(main())
