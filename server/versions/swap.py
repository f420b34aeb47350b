"""The model exchanged under running calls: another one published, what was changed carried over, old memory given back."""

import logging
import weakref
from collections.abc import Callable
from functools import partial
from typing import Protocol

from holdfast.bundle.reader import Bundle
from holdfast.errors import BundleError
from holdfast.server.core.holder import ModelHolder
from holdfast.server.core.snapshot import ModelSnapshot
from holdfast.server.settings import Settings
from holdfast.server.versions.background import give_back, in_background
from holdfast.server.versions.history import KnownVersion
from holdfast.server.versions.loading import LoadedVersion, identity, load_version
from holdfast.server.versions.source import VersionPlace

log = logging.getLogger(__name__)

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


class ModelSwap:
    """Loads versions beside the served one, and exchanges them. Belongs to one event loop.

    Args:
        settings: of the server.
        holder: of the model.
        follower: has changes to the served bundle, which the next one is to have too; None where there can be none.

    """

    def __init__(self, settings: Settings, holder: ModelHolder, follower: BundleFollower | None) -> None:
        self._settings, self._holder, self._follower = settings, holder, follower

    async def load(self, place: VersionPlace, expected: str = "") -> LoadedVersion:
        """The version that lies there, tried, on a thread that gives way.

        Args:
            place: where it lies.
            expected: which bundle it has to be; any where it is "".

        Raises:
            HoldfastError: it is another one, or this server cannot serve it.

        """
        return await in_background(partial(self._load, place, expected))

    async def swap(self, loaded: LoadedVersion) -> KnownVersion:
        """Serve it from the next batch on, and give back the memory of the one before. Raises HoldfastError."""
        before = weakref.ref(self._holder.current)
        if self._follower is None:
            await in_background(partial(self._publish, loaded.snapshot))
        else:
            await self._follower.follow(loaded.bundle, loaded.snapshot, self._publish)
        if not self._settings.keep_previous and not await in_background(lambda: give_back(lambda: before() is None)):
            log.warning("the version before is still in use: its memory is given back later")
        return self.known(loaded)

    def known(self, loaded: LoadedVersion) -> KnownVersion:
        """What is remembered of a version that is served."""
        kept = loaded if self._settings.keep_previous else None
        version = loaded.snapshot.description.bundle_version
        return KnownVersion(loaded.place, version, loaded.fingerprint, loaded.loaded_at, loaded.report, kept)

    def _load(self, place: VersionPlace, expected: str) -> LoadedVersion:
        if expected and identity(place) != expected:
            raise BundleError(
                f"another bundle lies in {place.directory} now; with --keep-previous the previous one stays in memory"
            )
        loaded = load_version(place, self._settings, self._holder.current.description)
        self._holder.try_out(loaded.snapshot)
        return loaded

    def _publish(self, snapshot: ModelSnapshot) -> ModelSnapshot:
        return self._holder.publish_next(lambda _: snapshot)
