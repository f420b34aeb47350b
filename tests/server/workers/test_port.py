import socket
from contextlib import ExitStack

import pytest

from holdfast.errors import HoldfastError
from holdfast.server.workers.port import Port


def listener(port: int, *options: int) -> socket.socket:
    with ExitStack() as stack:
        made = stack.enter_context(socket.socket())
        for option in options:
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind(("127.0.0.1", port))
        made.listen()
        stack.pop_all()
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::]"])  # noqa: S104 - tried, and nobody is let in
def test_port_0_is_a_free_one_that_workers_share_and_others_do_not(host: str) -> None:
    port = Port.take(host, 0)
    assert port.number > 0
    # As gRPC binds where processes share a port, and where they do not.
    shared = socket.SO_REUSEADDR, socket.SO_REUSEPORT
    first, second = listener(port.number, *shared), listener(port.number, *shared)
    with pytest.raises(OSError, match="in use"):
        listener(port.number, socket.SO_REUSEADDR)
    with pytest.raises(HoldfastError, match=str(port.number)):
        Port.take("127.0.0.1", port.number)
    first.close()
    second.close()
    port.close()


def test_a_port_is_held_before_anybody_listens_and_given_back() -> None:
    port = Port.take("127.0.0.1", 0)
    with pytest.raises(HoldfastError, match="in use"):
        Port.take("127.0.0.1", port.number)
    with pytest.raises(OSError, match="in use"):
        listener(port.number, socket.SO_REUSEADDR)
    port.close()
    Port.take("127.0.0.1", port.number).close()


@pytest.mark.parametrize("options", [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)])
def test_whoever_listens_already_is_not_joined(options: tuple[int, ...]) -> None:
    with listener(0, *options) as other, pytest.raises(HoldfastError, match="in use"):
        Port.take("127.0.0.1", other.getsockname()[1])


@pytest.mark.parametrize("options", [(socket.SO_REUSEADDR,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)])
def test_connections_that_linger_do_not_hold_up_a_restart(options: tuple[int, ...]) -> None:
    with listener(0, *options) as old:
        number = old.getsockname()[1]
        with socket.create_connection(("127.0.0.1", number)) as caller:
            served, _ = old.accept()
            served.close()  # who closes first lingers in TIME_WAIT
            assert caller.recv(1) == b""
    Port.take("127.0.0.1", number).close()


def test_no_such_host_is_said() -> None:
    with pytest.raises(HoldfastError, match=r"nowhere\.invalid:5"):
        Port.take("nowhere.invalid", 5)
