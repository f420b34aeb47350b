"""One port for several processes, and for no other server."""

import socket
from typing import Self

from holdfast.errors import HoldfastError

Place = tuple[socket.AddressFamily, tuple[str | int, ...]]


class Port:
    """Holds the server's port for its life, without listening: the workers listen there beside it, by SO_REUSEPORT.

    SO_REUSEPORT alone would let a second server in, as a secret sharer of connections. So the port is first
    tried; a server that comes later meets a socket that is not its own, and fails in the same way.
    """

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self.number: int = sockets[0].getsockname()[1]

    @classmethod
    def take(cls, host: str, port: int) -> Self:
        """Take it on every address of `host`; 0 is any free one.

        Raises:
            HoldfastError: it is taken, or there is no such host.

        """
        held: list[socket.socket] = []
        try:
            places = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in dict.fromkeys(places):
                # The second address of a host gets the number that the first was given.
                number = held[0].getsockname()[1] if held else port
                place: Place = family, (address[0], number, *address[2:])
                _see_that_it_is_free(place)
                held.append(_hold(place))
        except OSError as error:
            for taken in held:
                taken.close()
            raise HoldfastError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        return cls(held)

    def close(self) -> None:
        """Give it back."""
        for each in self._sockets:
            each.close()


def _see_that_it_is_free(place: Place) -> None:
    """Raise OSError where anybody listens there or holds it. Connections that linger since a restart are no hindrance."""
    with socket.socket(place[0], socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(place[1])
        trial.listen(1)


def _hold(place: Place) -> socket.socket:
    """A socket that is bound there. Without SO_REUSEADDR it is in everybody's way but the workers'."""
    family, address = place
    for options in ([socket.SO_REUSEPORT], [socket.SO_REUSEPORT, socket.SO_REUSEADDR]):
        holder = socket.socket(family, socket.SOCK_STREAM)
        try:
            for option in options:
                holder.setsockopt(socket.SOL_SOCKET, option, 1)
            holder.bind(address)
        except OSError as error:
            # Free, and yet not to be had without SO_REUSEADDR: connections linger that some other kind of server had.
            holder.close()
            refused = error
        else:
            return holder
    raise refused
