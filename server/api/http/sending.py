"""Sending a response to a client that may take none of it."""

import asyncio

from aiohttp import web

from holdfast.server.metrics.http_requests import HttpMetrics


async def send(request: web.Request, response: web.StreamResponse, seconds: float, metrics: HttpMetrics) -> None:
    """Send what is left of a response; whoever does not take it in so many seconds is cut off."""
    try:
        async with asyncio.timeout(seconds):
            if not response.prepared:
                await response.prepare(request)
            await response.write_eof()
    except TimeoutError:
        metrics.refused("time")
        if request.transport is not None:
            request.transport.abort()
