"""Which version is served: loaded and tried beside the served one, swapped whole between batches, and gone back from."""

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from holdfast.bundle.reader import Bundle
from holdfast.errors import BundleError, HoldfastError
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.metrics.reloads import ReloadMetrics, ReloadOutcome
from holdfast.server.settings import Settings
from holdfast.server.versions.background import give_back, in_background
from holdfast.server.versions.history import KnownVersion, VersionHistory
from holdfast.server.versions.loading import LoadedVersion, identity, load_version
from holdfast.server.versions.records import (
    NoPreviousVersionError,
    UnknownVersionError,
    VersionRecord,
    VersionRefusedError,
)
from holdfast.server.versions.source import Fingerprint, VersionPlace, source_of

log = logging.getLogger(__name__)

NAMES_SHOWN = 10
"""Of the versions that there are, in a message."""

Publish = Callable[[ModelSnapshot], ModelSnapshot]
"""Serves a model under the next version number. Raises as ModelHolder.publish_next."""


class BundleFollower(Protocol):
    """What holds changes that were made to the served bundle, and takes them along to another one."""

    async def follow(self, bundle: Bundle, snapshot: ModelSnapshot, publish: Publish) -> None:
        """Carry what was changed over to `bundle`, and call `publish` once, with its model so changed.

        Args:
            bundle: the next one, opened.
            snapshot: its model, unchanged.
            publish: serves a model. No change may be acknowledged between what was carried over and this call.

        Raises:
            HoldfastError: something cannot be carried over; says what and how much of it. Nothing is published then.

        """


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

    """

    def __init__(
        self,
        settings: Settings,
        holder: ModelHolder,
        metrics: Metrics,
        first: LoadedVersion | None = None,
        follower: BundleFollower | None = None,
    ) -> None:
        self._settings, self._holder, self._follower = settings, holder, follower
        self._source = source_of(settings)
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[VersionRecord]] = set()
        self._metrics = ReloadMetrics(metrics.registry)
        self.history = VersionHistory(self._known(first) if first is not None else self._first())
        holder.subscribe(self._show)
        self._show(holder.current)

    async def reload(self, name: str | None = None) -> VersionRecord:
        """Serve the version of that name; without one the newest, or the bundle's directory as it is now.

        The watcher leaves newer ones alone from now on, unless they appear or change later.

        Returns:
            The version that is served now.

        Raises:
            UnknownVersionError: there is none of that name, or none at all.
            VersionRefusedError: it will not do, and the served one is what it was.

        """
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
        """All versions, by name: those that lie there, the served one, and the one before it."""
        try:
            there = [place.name for place in self._source.places()]
        except BundleError:  # what is known without the directory is still worth showing
            there = []
        return self.history.records(there)

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

    async def _rollback(self) -> VersionRecord:
        async with self._changing:
            back = self.history.previous
            if back is None:
                raise NoPreviousVersionError("there is no version to go back to: reload one by its name")
            await self._replace(back.place, back)
            self._pass_over()
            return self.history.served_record()

    async def _take(self, place: VersionPlace, fingerprint: Fingerprint) -> VersionRecord:
        async with self._changing:
            if not self.history.has_seen(place, fingerprint):
                await self._replace(place, repeat=False)
            return self.history.served_record()

    def _pass_over(self) -> None:
        served = self.history.served.place.name
        try:
            self.history.pass_over(place for place in self._source.places() if place.name != served)
        except BundleError as error:
            log.warning("%s", error)

    async def _replace(self, place: VersionPlace, back: KnownVersion | None = None, *, repeat: bool = True) -> None:
        """Serve what lies there; of `back`, the version that was served before, it has to be the same bundle.

        A refusal that was logged before is logged again if `repeat`.
        """
        began, fingerprint = time.monotonic(), place.fingerprint()
        self.history.loading = place.name
        log.info("version %s is being loaded from %s", place.name, place.directory)
        try:
            loaded = back.loaded if back is not None and back.loaded is not None else None
            if loaded is None:
                loaded = await in_background(partial(self._load, place, back))
            served = await self._swap(loaded)
        except Exception as error:  # whatever it was, the served version goes on
            self._ended("refused", began)
            reason = str(error) if isinstance(error, HoldfastError) else f"{type(error).__name__}: {error}"
            if self.history.refuse(place, fingerprint, reason) or repeat:
                unexpected = None if isinstance(error, HoldfastError) else error
                log.error(  # noqa: TRY400 - a sentence for the operator; a traceback only of what nobody has foreseen
                    "version %s is refused, and the served one goes on: %s", place.name, reason, exc_info=unexpected
                )
            raise VersionRefusedError(f"version {place.name} is refused, and the served one goes on: {reason}") from None
        finally:
            self.history.loading = ""
        (self.history.serve if back is None else self.history.serve_again)(served)
        self._ended("served" if back is None else "rolled_back", began)
        log.info("version %s is served after %.1f s: %s", place.name, time.monotonic() - began, served.report)

    def _load(self, place: VersionPlace, back: KnownVersion | None) -> LoadedVersion:
        """Raises HoldfastError for a version that this server cannot serve."""
        if back is not None and back.bundle_version and identity(place) != back.bundle_version:
            raise BundleError(
                f"another bundle lies in {place.directory} now; with --keep-previous the previous one stays in memory"
            )
        loaded = load_version(place, self._settings, self._holder.current.description)
        self._holder.try_out(loaded.snapshot)
        return loaded

    async def _swap(self, loaded: LoadedVersion) -> KnownVersion:
        """Publish it, and give back the memory of the one before."""
        before = weakref.ref(self._holder.current)
        if self._follower is None:
            await in_background(partial(self._publish, loaded.snapshot))
        else:
            await self._follower.follow(loaded.bundle, loaded.snapshot, self._publish)
        if not self._settings.keep_previous and not await in_background(lambda: give_back(lambda: before() is None)):
            log.warning("the version before is still in use: its memory is given back later")
        return self._known(loaded)

    def _known(self, loaded: LoadedVersion) -> KnownVersion:
        kept = loaded if self._settings.keep_previous else None
        version = loaded.snapshot.description.bundle_version
        return KnownVersion(loaded.place, version, loaded.fingerprint, datetime.now(UTC), loaded.report, kept)

    def _first(self) -> KnownVersion:
        version = self._holder.current.description.bundle_version
        name = version.rpartition("@")[0]
        places = self._source.places()
        place = next((place for place in places if place.name == name), places[0])
        return KnownVersion(place, version, place.fingerprint(), datetime.now(UTC))

    def _publish(self, snapshot: ModelSnapshot) -> ModelSnapshot:
        return self._holder.publish_next(lambda _: snapshot)

    def _ended(self, outcome: ReloadOutcome, began: float) -> None:
        self._metrics.ended(outcome, time.monotonic() - began)

    def _show(self, snapshot: ModelSnapshot) -> None:
        model = snapshot.description
        self._metrics.serves(model.version, model.bundle_version, model.name)
