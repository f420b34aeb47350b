"""From settings to the end of the process."""

import asyncio
import logging
import signal

from holdfast.bundle.reader import Bundle
from holdfast.errors import HoldfastError
from holdfast.server.app import App
from holdfast.server.process import loop_factory, quiet_collector, unless, until_told_to_stop
from holdfast.server.settings import Settings
from holdfast.server.workers.app import WorkersApp


def run(settings: Settings) -> int:
    """Open the bundle and serve until SIGTERM or SIGINT. Returns the exit status.

    Raises:
        HoldfastError: the bundle or the device will not do, or a port is taken.

    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    bundle = Bundle.open(
        settings.bundle,
        threads=settings.threads,
        device=settings.device,
        max_batch=settings.max_batch,
        precision=settings.precision,
    )
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_serve(settings, bundle))


def _by(workers: int) -> str:
    return f", by {workers} worker process{'es' * (workers > 1)}" if workers else ""


async def _serve(settings: Settings, bundle: Bundle) -> int:
    told = until_told_to_stop(signal.SIGTERM, signal.SIGINT)
    app = WorkersApp(settings, bundle) if settings.workers else App(settings, bundle)
    if not await unless(told, app.start()):
        print(f"ending on {told.result()}, while it was warming up", flush=True)
        await app.drain()
        return 0
    quiet_collector()
    manifest = bundle.manifest
    print(f"holdfast serves {manifest.name}: {len(manifest.class_names)} classes, {bundle.index.size} exemplars")
    print(f"  on {bundle.placement}")
    print(f"  gRPC     {app.address}{_by(settings.workers)}")
    print(f"  metrics  {app.metrics_url}", flush=True)
    try:
        await unless(told, app.watch())
    except HoldfastError:
        await app.drain()
        raise
    print(f"draining on {told.result()}", flush=True)
    finished = await app.drain()
    print("drained" if finished else "calls were cut off after the grace period", flush=True)
    return 0 if finished else 1
