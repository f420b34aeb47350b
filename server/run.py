"""From settings to the end of the process."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast.bundle.canary_set import CanarySet
from holdfast.bundle.reader import read_manifest
from holdfast.errors import HoldfastError
from holdfast.exit_status import say
from holdfast.server.access.checks import check_access
from holdfast.server.access.files import ListenerAccess
from holdfast.server.address import refuse_taken_port
from holdfast.server.app import App
from holdfast.server.core.holder import ModelHolder
from holdfast.server.exposure import ADMIN_OFFER, PAGE_OFFER, check_offer, exposures
from holdfast.server.process import loop_factory, quiet_collector, run_unless, stop_signal
from holdfast.server.settings import Settings
from holdfast.server.store.journal.creation import check_directory
from holdfast.server.store.options import StoreOptions
from holdfast.server.store.store import ExemplarStore
from holdfast.server.telemetry.logs import configure_logging
from holdfast.server.versions.background import large_blocks_apart
from holdfast.server.versions.loading import LoadedVersion, load_first
from holdfast.server.workers.app import WorkersApp

log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Open the bundle, or the newest version, and serve until SIGTERM or SIGINT. Returns the exit status.

    Raises:
        HoldfastError: the bundle or the device will not do, or a port is taken.

    """
    configure_logging(settings.log_format)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # before there is anything to reload
    check_cheap(settings)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        status = runner.run(_serve(settings, load_first(settings)))
    if status:
        # Threads that still decode or compute would hold the process back, and nobody waits for what they do.
        sys.stdout.flush()
        os._exit(status)
    return status


def check_cheap(settings: Settings) -> None:
    """Find what is wrong and costs nothing to find, before a bundle is opened. Each thing is looked at again when it is used.

    Raises:
        HoldfastError: a file of tokens or of TLS, the canary, the shadow or the port file cannot be used, the admin service
            or the page would be everybody's, the directory of the store may be none, or a port is taken.

    """
    listeners = [(settings.host, settings.port, "--port"), (settings.metrics_at, settings.metrics_port, "--metrics-port")]
    if settings.http_port is not None:
        listeners.append((settings.host, settings.http_port, "--http-port"))
    check_access(settings.public_access)
    if settings.offers_admin:
        check_offer(settings, ADMIN_OFFER)
        check_access(settings.admin_access)
        listeners.append((settings.admin_host, settings.admin_port, "--admin-port"))
    if settings.page_port is not None:
        check_offer(settings, PAGE_OFFER)
        check_access(settings.admin_access)
        listeners.append((settings.page_host, settings.page_port, "--page-port"))
    if settings.store is not None:
        check_directory(settings.store)
    if settings.canary is not None:
        CanarySet.load(settings.canary)
    if settings.shadow is not None:
        read_manifest(settings.shadow)
    if settings.port_file is not None:
        _check_port_file(settings.port_file)
    for host, port, flag in listeners:
        refuse_taken_port(host, port, flag)


def _check_port_file(path: Path) -> None:
    directory = next(each for each in path.absolute().parents if each.exists())  # it is made where it is missing
    if (path.exists() and not path.is_file()) or not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        raise HoldfastError(f"--port-file {path} cannot be written: name a file in a directory that this user may write to")


async def _serve(settings: Settings, first: LoadedVersion) -> int:
    with large_blocks_apart():
        app = make_app(settings, first)
    del first  # or this frame would hold on to a model that is served no longer
    announce = _announcer(settings)
    stopping = stop_signal(signal.SIGTERM, signal.SIGINT)
    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.request_reload)
    if not await run_unless(stopping, app.start()):
        announce(f"ending on {stopping.result()}, while it was warming up")
        return 0 if await app.drain() else 1
    quiet_collector()
    _print_start(app, announce)
    try:
        await run_unless(stopping, app.watch())
    except HoldfastError:
        await app.drain()
        raise
    announce(f"draining on {stopping.result()}")
    finished = await app.drain()
    announce("drained" if finished else "calls were cut off after the grace period")
    return 0 if finished else 1


def make_app(settings: Settings, first: LoadedVersion, **parts: Any) -> App | WorkersApp:
    """The server of the settings over its first version, with the exemplars of its store. `parts` are those of App."""
    store = open_store(settings, first)
    snapshot = first.snapshot if store is None else store.placed_in(first.snapshot)
    holder = ModelHolder(snapshot.numbered(1))
    make = WorkersApp if settings.workers else App
    return make(settings, holder, first=first, store=store, **parts)


def open_store(settings: Settings, first: LoadedVersion) -> ExemplarStore | None:
    """The store of the settings over the first version; None where they name none. Raises StoreError."""
    options = StoreOptions.of(settings, follow=settings.bundle_versions is not None)
    return None if options is None else ExemplarStore.open(options, first.bundle, first.snapshot)


def _print_start(app: App | WorkersApp, announce: Callable[[str], None]) -> None:
    model, workers = app.holder.current.description, app.settings.workers
    by = f", by {workers} worker process{'es' * (workers > 1)}" if workers else ""
    announce(f"holdfast serves {model.name}: {len(model.class_names)} classes, {model.exemplars} exemplars")
    announce(f"  on {model.placement.text}")
    if app.store is not None:
        announce(f"  store    {app.settings.store}, {app.store.sequence} changes so far")
    announce(f"  gRPC     {app.address}{by}{_describe_access(app.settings.public_access)}")
    if app.http_url:
        announce(f"  HTTP     {app.http_url}")
    announce(f"  metrics  {app.metrics_url}")
    if app.admin_address:
        access = app.settings.admin_access
        announce(f"  admin    {app.admin_address}{_describe_access(access) or ', without tokens: to try out'}")
    if app.page_url:
        announce(f"  page     {app.page_url}{_describe_access(app.settings.admin_access) or ', without tokens: to try out'}")
    for sentence in exposures(app.settings):
        log.warning("%s", sentence)


def _announcer(settings: Settings) -> Callable[[str], None]:
    """How lines for whoever started the server are said: printed, or in a log of JSON, where they would be no JSON."""
    return say if settings.log_format == "text" else lambda text: log.info("%s", text.strip())


def _describe_access(access: ListenerAccess) -> str:
    files = access.certificate
    asked = {
        "TLS": files is not None,
        "certificates of clients": files is not None and files.client_ca is not None,
        f"tokens of {access.token_file}": access.token_file is not None,
    }
    return "".join(f", {each}" for each, so in asked.items() if so)
