"""Which version is served: loaded and tried beside the served one, swapped whole between batches, and gone back from."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from holdfast.errors import BundleError, HoldfastError
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.metrics.reloads import ReloadMetrics
from holdfast.server.settings import Settings
from holdfast.server.versions.history import KnownVersion, VersionHistory
from holdfast.server.versions.loading import LoadedVersion
from holdfast.server.versions.records import (
    NoPreviousVersionError,
    UnknownVersionError,
    VersionRecord,
    VersionRefusedError,
    VersionState,
)
from holdfast.server.versions.shadow import Shadow
from holdfast.server.versions.source import Fingerprint, OneBundle, VersionPlace, source_of
from holdfast.server.versions.swap import BundleFollower, ModelSwap
from holdfast.versions import natural

log = logging.getLogger(__name__)

NAMES_SHOWN = 10
"""Of the versions that there are, in a message."""


class VersionManager:
    """Decides which version is served. All public methods are the event loop's.

    One change is made at a time; others wait for it. A version that is refused leaves the served one as it is, and why stands
    in the log, in the metrics and in `list`.

    Args:
        settings: of the server.
        holder: of the model.
        metrics: of the engine's process.
        first: the version that is served now, as it was loaded; where it is not given it is known by its place alone.
        follower: has changes to the served bundle, which the next one is to have too; None where there can be none.

    Attributes:
        history: what is known of versions.
        shadow: answers beside the served version; None where the settings name none.

    """

    def __init__(
        self,
        settings: Settings,
        holder: ModelHolder,
        metrics: Metrics,
        first: LoadedVersion | None = None,
        follower: BundleFollower | None = None,
    ) -> None:
        self._settings, self._holder = settings, holder
        self._source, self._swap = source_of(settings), ModelSwap(settings, holder, follower)
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[VersionRecord]] = set()
        self._metrics = ReloadMetrics(metrics.registry)
        self.history = VersionHistory(self._swap.known(first) if first is not None else self._first())
        self.shadow = Shadow(settings, metrics) if settings.shadow is not None else None
        holder.subscribe(self._show)
        self._show(holder.current)

    async def reload(self, name: str | None = None) -> VersionRecord:
        """Serve the version of that name; without one the newest, or the bundle's directory as it is now.

        By its name the shadow can be served too, as it is in memory, and is a shadow no longer. The watcher leaves newer
        versions alone from now on, unless they appear or change later.

        Returns:
            The version that is served now.

        Raises:
            UnknownVersionError: there is none of that name, or none at all.
            VersionRefusedError: it will not do, and the served one is what it was.

        """
        shadow = self.shadow.loaded if self.shadow is not None else None
        if shadow is not None and name == shadow.place.name:
            return await self._change(self._promote(shadow))
        return await self._change(self._reload(self._place_of(name)))

    async def rollback(self) -> VersionRecord:
        """Serve the version before this one again. It is tried again too, unless it was kept in memory.

        Returns:
            The version that is served now.

        Raises:
            NoPreviousVersionError: no other was served before, or this was rolled back to already.
            VersionRefusedError: its directory is gone or holds another bundle now, or it fails its canary.

        """
        return await self._change(self._rollback())

    async def take(self, place: VersionPlace, fingerprint: Fingerprint) -> VersionRecord:
        """Serve a version that has appeared, unless it was seen meanwhile. Raises VersionRefusedError."""
        return await self._change(self._take(place, fingerprint))

    async def begin_shadow(self) -> VersionRecord:
        """Load the shadow that the settings name. Raises VersionRefusedError, and there is none then."""
        return await self._change(self._begin_shadow())

    async def stop(self) -> None:
        """Change nothing any more. A version that is being loaded is left to itself."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def places(self) -> list[VersionPlace]:
        """Where versions lie now, the newest first. Raises BundleError where the directory cannot be read."""
        return self._source.places()

    def list(self) -> list[VersionRecord]:
        """All versions, by name: those that lie there, the served one, the one before it, and the shadow."""
        try:
            there = [place.name for place in self._source.places()]
        except BundleError:  # what is known without the directory is still worth showing
            there = []
        shadow = self.shadow.loaded if self.shadow is not None else None
        if shadow is None:
            return self.history.records(there)
        name = shadow.place.name
        record = VersionRecord(name, VersionState.SHADOW, shadow.loaded_at, shadow.report)
        return sorted([*self.history.records(n for n in there if n != name), record], key=lambda each: natural(each.name))

    def _place_of(self, name: str | None) -> VersionPlace:
        places = self._source.places()
        if not places:
            raise UnknownVersionError(f"{self._settings.bundle_versions} holds no version: rename a bundle into it")
        if name is None:
            return places[0]
        for place in places:
            if place.name == name:
                return place
        shown = ", ".join(place.name for place in places[:NAMES_SHOWN])
        raise UnknownVersionError(f"there is no version {name!r}; the newest that there are: {shown}")

    async def _change(self, change: Coroutine[Any, Any, VersionRecord]) -> VersionRecord:
        """A change goes on where the caller who asked for it has left: another would only begin it anew."""
        task = asyncio.create_task(change)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # the caller may not be there to look
        return await asyncio.shield(task)

    async def _reload(self, place: VersionPlace) -> VersionRecord:
        async with self._changing:
            await self._replace(place)
            self._pass_over()
            return self.history.served_record()

    async def _promote(self, shadow: LoadedVersion) -> VersionRecord:
        async with self._changing:
            # What has changed on disk since is another version, and is tried as such.
            same = shadow.place.fingerprint() == shadow.fingerprint
            await self._replace(shadow.place, loaded=shadow if same else None)
            if self.shadow is not None and self.shadow.loaded is shadow:
                self.shadow.show(None)
            self._pass_over()
            return self.history.served_record()

    async def _rollback(self) -> VersionRecord:
        async with self._changing:
            back = self.history.previous
            if back is None:
                raise NoPreviousVersionError("there is no version to go back to: reload one by its name")
            await self._replace(back.place, back, loaded=back.loaded)
            self._pass_over()
            return self.history.served_record()

    async def _take(self, place: VersionPlace, fingerprint: Fingerprint) -> VersionRecord:
        async with self._changing:
            if not self.history.has_seen(place, fingerprint):
                await self._replace(place, repeat=False)
            return self.history.served_record()

    async def _begin_shadow(self) -> VersionRecord:
        assert self.shadow is not None  # noqa: S101 - only asked for where the settings name one
        assert self._settings.shadow is not None  # noqa: S101 - likewise
        (place,) = OneBundle(self._settings.shadow).places()
        async with self._changing:
            try:
                loaded = await self._swap.load(place)
            except Exception as error:  # noqa: BLE001 - whatever it was, the served version goes on
                raise self._refused(place, place.fingerprint(), error, repeat=True) from None
            self.shadow.show(loaded)
            log.info("version %s answers %.3g of the images beside the served one", place.name, self._settings.shadow_share)
            return VersionRecord(place.name, VersionState.SHADOW, loaded.loaded_at, loaded.report)

    async def _replace(
        self,
        place: VersionPlace,
        back: KnownVersion | None = None,
        *,
        loaded: LoadedVersion | None = None,
        repeat: bool = True,
    ) -> None:
        """Serve what lies there, or `loaded`, which is in memory already.

        Of `back`, the version that was served before, it has to be the same bundle. A refusal that was logged before is logged
        again if `repeat`.
        """
        began, fingerprint = time.monotonic(), place.fingerprint()
        self.history.loading = place.name
        log.info("version %s is being loaded from %s", place.name, place.directory)
        try:
            if loaded is None:
                loaded = await self._swap.load(place, back.bundle_version if back is not None else "")
            served = await self._swap.swap(loaded)
        except Exception as error:  # noqa: BLE001 - whatever it was, the served version goes on
            self._metrics.ended("refused", time.monotonic() - began)
            raise self._refused(place, fingerprint, error, repeat=repeat) from None
        finally:
            self.history.loading = ""
        (self.history.serve if back is None else self.history.serve_again)(served)
        self._metrics.ended("served" if back is None else "rolled_back", time.monotonic() - began)
        log.info("version %s is served after %.1f s: %s", place.name, time.monotonic() - began, served.report)

    def _refused(self, place: VersionPlace, fingerprint: Fingerprint, error: Exception, *, repeat: bool) -> VersionRefusedError:
        """Remember and say why a version is not served."""
        foreseen = isinstance(error, HoldfastError)
        said = str(error) if foreseen else f"{type(error).__name__}: {error}"
        reason = f"version {place.name} is refused, and the served one goes on: {said}"
        if self.history.refuse(place, fingerprint, said) or repeat:
            log.error(reason, exc_info=None if foreseen else error)
        return VersionRefusedError(reason)

    def _pass_over(self) -> None:
        served = self.history.served.place.name
        try:
            self.history.pass_over(place for place in self._source.places() if place.name != served)
        except BundleError as error:
            log.warning("%s", error)

    def _first(self) -> KnownVersion:
        version = self._holder.current.description.bundle_version
        name = version.rpartition("@")[0]
        places = self._source.places()
        place = next((place for place in places if place.name == name), places[0])
        return KnownVersion(place, version, place.fingerprint(), datetime.now(UTC))

    def _show(self, snapshot: ModelSnapshot) -> None:
        model = snapshot.description
        self._metrics.serves(model.version, model.bundle_version, model.name)
