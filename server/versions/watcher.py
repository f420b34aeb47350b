"""Takes newer versions as they appear, and heeds what asks for a reload from outside."""

import asyncio
import logging
from contextlib import suppress

from holdfast.errors import BundleError, HoldfastError
from holdfast.server.versions.manager import VersionManager
from holdfast.server.versions.source import Fingerprint, VersionPlace
from holdfast.versions import natural

log = logging.getLogger(__name__)


class VersionWatcher:
    """Looks for newer versions every `interval` seconds, and reloads on request. Belongs to one event loop.

    A version that appears is loaded at once. One that was refused, as a half copied one is, is left alone until its directory
    has changed and has then stayed as it is for an interval: a copy under way is not read over and over.

    Args:
        manager: changes versions.
        interval: seconds between two looks; 0: only on request.

    """

    def __init__(self, manager: VersionManager, interval: float) -> None:
        self._manager, self._interval = manager, interval
        self._requested = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsettled: dict[str, Fingerprint] = {}
        self._fault = ""

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End. A version that is being loaded is left to itself, and not served."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def request(self) -> None:
        """Reload soon, or as soon as it has started: what SIGHUP does."""
        self._requested.set()

    async def _run(self) -> None:
        if self._manager.shadow is not None:
            with suppress(HoldfastError):  # the manager has said why
                await self._manager.begin_shadow()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval or None):
                    await self._requested.wait()
            try:
                await self._reload() if self._requested.is_set() else await self._look()
            except Exception:  # the next look may go better, and the server answers meanwhile
                log.exception("looking for versions failed")

    async def _reload(self) -> None:
        self._requested.clear()
        try:
            await self._manager.reload()
        except HoldfastError as error:
            log.error("nothing was reloaded: %s", error)  # noqa: TRY400 - a sentence for the operator

    async def _look(self) -> None:
        """Take the newest version that is newer than the served one, and will do."""
        try:
            places = await asyncio.to_thread(self._manager.places)
        except BundleError as error:
            if str(error) != self._fault:
                log.error("%s", error)  # noqa: TRY400
            self._fault = str(error)
            return
        self._fault = ""
        served = self._manager.history.served
        for place in places:
            if natural(place.name) < natural(served.place.name):
                return
            fingerprint = await asyncio.to_thread(place.fingerprint)
            if place.name == served.place.name and fingerprint == served.fingerprint:
                return
            if self._is_due(place, fingerprint):
                with suppress(HoldfastError):  # the manager has said why
                    await self._manager.take(place, fingerprint)
                    return

    def _is_due(self, place: VersionPlace, fingerprint: Fingerprint) -> bool:
        """Whether it is worth a try."""
        history = self._manager.history
        if history.has_seen(place, fingerprint) or not fingerprint:
            return False
        settled = self._unsettled.get(place.name) == fingerprint
        self._unsettled[place.name] = fingerprint
        return settled or not (history.was_refused(place) or place.name == history.served.place.name)
