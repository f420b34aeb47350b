"""One port for several processes, and for no other server."""

import socket
from typing import Self

from holdfast.server.address import BoundAddress, addresses_of, cannot_listen, refuse_taken


class Port:
    """Holds the server's port for its life, without listening: the workers listen there beside it, by SO_REUSEPORT.

    SO_REUSEPORT alone would let a second server in, which would quietly take a share of the connections. So the port is tried
    first; a server that comes later meets a socket that is not its own, and fails in the same way.
    """

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self.number: int = sockets[0].getsockname()[1]

    @classmethod
    def take(cls, host: str, port: int, flag: str = "--port") -> Self:
        """Take it on every address of `host`; 0 is any free one. `flag` is by which an operator would change it.

        Raises:
            HoldfastError: it is taken, or there is no such host.

        """
        held: list[socket.socket] = []
        try:
            for family, address in addresses_of(host, port):
                # The second address of a host gets the number that the first was given.
                number = held[0].getsockname()[1] if held else port
                bound: BoundAddress = family, (address[0], number, *address[2:])
                refuse_taken(bound)
                held.append(_hold(bound))
        except (OSError, UnicodeError) as error:
            for taken in held:
                taken.close()
            raise cannot_listen(host, port, flag, error) from None
        return cls(held)

    def close(self) -> None:
        """Give it back."""
        for each in self._sockets:
            each.close()


def _hold(bound: BoundAddress) -> socket.socket:
    """A socket that is bound there. Without SO_REUSEADDR it keeps all but the workers from listening there."""
    family, address = bound
    for options in ([socket.SO_REUSEPORT], [socket.SO_REUSEPORT, socket.SO_REUSEADDR]):
        holder = socket.socket(family, socket.SOCK_STREAM)
        try:
            for option in options:
                holder.setsockopt(socket.SOL_SOCKET, option, 1)
            holder.bind(address)
        except OSError as error:
            # Free, but bound only with SO_REUSEADDR: connections linger of a server that was of another kind.
            holder.close()
            refused = error
        else:
            return holder
    raise refused
