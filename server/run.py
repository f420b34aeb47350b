"""From settings to the end of the process."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from bundle.bundle import Bundle
from server.app import App
from server.settings import Settings


def run(settings: Settings) -> int:
    """Open the bundle and serve until SIGTERM or SIGINT. Returns the exit status.

    Raises:
        HoldfastError: the bundle or the device will not do, or a port is taken.

    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    bundle = Bundle.open(settings.bundle, threads=settings.threads, device=settings.device, max_batch=settings.max_batch)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, bundle))


async def _serve(settings: Settings, bundle: Bundle) -> int:
    told = _until_told_to_stop()
    app = App(settings, bundle)
    if not await _unless(told, app.start()):
        print(f"ending on {told.result()}, while it was warming up", flush=True)
        await app.drain()
        return 0
    # What is loaded now stays: the collector need not look through it again and again. And calls in flight are many
    # small objects that live for milliseconds: at its usual threshold it would run every ten calls, in vain.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    manifest = bundle.manifest
    print(f"holdfast serves {manifest.name}: {len(manifest.class_names)} classes, {bundle.index.size} exemplars")
    print(f"  on {bundle.placement}")
    print(f"  gRPC     {app.address}")
    print(f"  metrics  {app.metrics_url}", flush=True)
    print(f"draining on {await told}", flush=True)
    finished = await app.drain()
    print("drained" if finished else "calls were cut off after the grace period", flush=True)
    return 0 if finished else 1


async def _unless(told: "asyncio.Future[str]", start: Coroutine[Any, Any, None]) -> bool:
    """Run `start` to its end, and raise what it raises, unless a signal comes first. Returns whether it came to its end."""
    starting = asyncio.create_task(start)
    either: set[asyncio.Future[Any]] = {starting, told}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        await starting
        return True
    starting.cancel()
    await asyncio.wait({starting})
    return False


def _until_told_to_stop() -> "asyncio.Future[str]":
    """Resolves with the signal's name. The second signal ends the process as it always does."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[str] = loop.create_future()
    signals = (signal.SIGTERM, signal.SIGINT)

    def hear(received: signal.Signals) -> None:
        for each in signals:
            loop.remove_signal_handler(each)
        told.set_result(received.name)

    for each in signals:
        loop.add_signal_handler(each, hear, each)
    return told


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop of uvloop where there is one: a quarter less CPU per call."""
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not on Windows

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
