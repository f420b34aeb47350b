"""What streams of every API have in common."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def until(stop: asyncio.Event, requests: AsyncIterator[T]) -> AsyncIterator[T]:
    """The requests, until there are no more or `stop` is set."""
    stopping = asyncio.ensure_future(stop.wait())
    try:
        while True:
            arriving = asyncio.ensure_future(anext(requests, None))
            await asyncio.wait({arriving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not arriving.done():
                arriving.cancel()
                return
            request = arriving.result()
            if request is None:
                return
            yield request
    finally:
        stopping.cancel()
