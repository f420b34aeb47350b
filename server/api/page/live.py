"""The live view: everything that it shows, read at most once a second however many look."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from aiohttp import web
from prometheus_client import CollectorRegistry

from holdfast.server.access.scopes import Scope
from holdfast.server.alarms.alarm import Alarm
from holdfast.server.api.page.parts import ServedParts
from holdfast.server.api.page.quarantine import Quarantined, QuarantineView
from holdfast.server.api.page.visits.visitor import PageCall, PageRoute
from holdfast.server.core.description import ModelDescription
from holdfast.server.monitor.page.background import BenchThread
from holdfast.server.monitor.page.histograms import BinnedCounts, binned, binned_by_range, shares_of_classes
from holdfast.server.monitor.page.traffic import MetricsWindow, TrafficFigures
from holdfast.server.versions.records import VersionRecord

FRESH_S = 1.0
"""Seconds for which figures are shown again."""

MOST_CLASSES, MOST_ALARMS = 12, 12

LATELY_S = 3600.0
"""Seconds for which an alarm is news."""

SAID = {
    "approved": "The exemplar votes now.",
    "dropped": "The exemplar is dropped.",
    "reloaded": "The version is served.",
    "rolled-back": "The version before is served again.",
}
"""What is said after a change, by the word that the address has of it."""


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """All that the live view shows.

    Attributes:
        model: that is served.
        read_at: seconds since 1970.
        answers: how many of the latest are counted in what follows.
        abstained: their share that abstained; NaN of none.
        classes: name and share of the answers, the most frequent first.
        margins, credibility: of the answers.
        alarms: the latest, the newest first.
        lately: how many of all that are kept had a reason to begin in the last hour.
        traffic: of the last minute.
        quarantined: how many exemplars wait; None where the server keeps no store.
        waiting: the oldest of them.
        versions: all that there are.

    """

    model: ModelDescription
    read_at: float
    answers: int
    abstained: float
    classes: Sequence[tuple[str, float]]
    margins: BinnedCounts
    credibility: BinnedCounts
    alarms: Sequence[Alarm]
    lately: int
    traffic: TrafficFigures
    quarantined: int | None
    waiting: Sequence[Quarantined]
    versions: Sequence[VersionRecord]

    @property
    def can_roll_back(self) -> bool:
        """Whether there is a version before the served one."""
        return any(version.state.value == "previous" for version in self.versions)


class LivePage:
    """Answers the routes of the live view. Belongs to one event loop.

    Args:
        parts: what it shows.
        registry: metrics of all processes.
        thread: for what takes milliseconds.

    """

    def __init__(self, parts: ServedParts, registry: CollectorRegistry, thread: BenchThread) -> None:
        self._settings, self._holder, self._view = parts.settings, parts.holder, parts.view
        self._store, self._versions, self._alarms = parts.store, parts.versions, parts.alarms
        self._window, self._thread = MetricsWindow(registry), thread
        self._quarantine = None
        if parts.store is not None:
            sources = parts.settings.reveal_sources
            self._quarantine = QuarantineView(parts.store, parts.holder, thread, sources=sources)
        self._latest: tuple[float, LiveFigures] | None = None
        self._reading = asyncio.Lock()

    @property
    def routes(self) -> tuple[PageRoute, ...]:
        """What it answers."""
        return (
            PageRoute("GET", "/", "live", Scope.ADMIN_READ, self._page),
            PageRoute("GET", "/live", "refresh", Scope.ADMIN_READ, self._part),
        )

    def forget(self) -> None:
        """Something has changed: the next look reads anew."""
        self._latest = None

    async def _page(self, call: PageCall) -> web.Response:
        said = SAID.get(call.request.query.get("said", ""), "")
        return await self._html(call, "live.html.j2", said)

    async def _part(self, call: PageCall) -> web.Response:
        return await self._html(call, "live_main.html.j2")

    async def _html(self, call: PageCall, template: str, said: str = "") -> web.Response:
        figures = await self._figures()
        return await self._thread.do(lambda: call.html(template, live=figures, settings=self._settings, said=said))

    async def _figures(self) -> LiveFigures:
        async with self._reading:
            if self._latest is None or time.monotonic() - self._latest[0] > FRESH_S:
                self._latest = time.monotonic(), await self._read()
            return self._latest[1]

    async def _read(self) -> LiveFigures:
        model = self._holder.current.description
        waiting = await self._quarantine.read() if self._quarantine is not None else []
        versions = self._versions.list()
        quarantined = self._store.quarantined if self._store is not None else None
        traffic = await self._thread.do(self._window.look)
        alarms = self._alarms().recent()
        answers = self._view.figures(model.bundle_version)
        return await self._thread.do(
            lambda: LiveFigures(
                model=model,
                read_at=time.time(),
                answers=len(answers),
                abstained=answers.abstained,
                classes=shares_of_classes(answers.labels, model.class_names, MOST_CLASSES),
                margins=binned_by_range(answers.soft_margin),
                credibility=binned(answers.credibility, np.linspace(0, 1, 21)),
                alarms=alarms[:MOST_ALARMS],
                lately=sum(alarm.when > time.time() - LATELY_S for alarm in alarms),
                traffic=traffic,
                quarantined=quarantined,
                waiting=waiting,
                versions=versions,
            )
        )
