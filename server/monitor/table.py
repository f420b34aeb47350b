"""Everything that observes answers: a file, and one line here."""

from holdfast.server.core.observers import MakeObserver
from holdfast.server.monitor.answers import AnswerMetrics
from holdfast.server.monitor.detectors.observer import TrafficDetectors
from holdfast.server.monitor.probes import Prober
from holdfast.server.monitor.spool import make_spool

OBSERVERS: tuple[MakeObserver, ...] = (
    AnswerMetrics.make,
    TrafficDetectors.make,
    Prober.make,
    make_spool,
)
