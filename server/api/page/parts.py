"""What the page is of."""

from collections.abc import Callable
from dataclasses import dataclass

from holdfast.server.alarms.alarm import AlarmLog
from holdfast.server.core.holder import ModelHolder
from holdfast.server.metrics.metrics import Metrics
from holdfast.server.monitor.page.recent import LiveView
from holdfast.server.settings import Settings
from holdfast.server.store.store import ExemplarStore
from holdfast.server.versions.manager import VersionManager


@dataclass(frozen=True, eq=False)
class ServedParts:
    """The parts of a server that its page shows and changes.

    Attributes:
        settings: of the server.
        holder: of the model.
        metrics: of the engine's process.
        view: has the latest answers.
        versions: of the bundle.
        store: of exemplars; None where the server keeps none.
        alarms: gives those of the detectors, once the server has started.

    """

    settings: Settings
    holder: ModelHolder
    metrics: Metrics
    view: LiveView
    versions: VersionManager
    store: ExemplarStore | None
    alarms: Callable[[], AlarmLog]
