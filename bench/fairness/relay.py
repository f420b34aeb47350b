"""Callers of other addresses, on one machine: their bytes are passed on from addresses of the loopback network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK = 2**18


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


@asynccontextmanager
async def relayed(address: str, caller: str) -> AsyncIterator[str]:
    """An address that leads to the server, which takes what comes that way for calls of `caller`, such as 127.0.0.7."""
    host, _, port = address.rpartition(":")
    pumps = set[asyncio.Task[None]]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port), local_addr=(caller, 0))
        pumps.update({asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))})

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
