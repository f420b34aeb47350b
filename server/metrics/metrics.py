"""Every metric of the server, each with its unit. Labels are bounded: none comes from what a caller sends."""

import threading
from collections.abc import Callable, Iterable
from math import nan
from typing import TYPE_CHECKING, Literal

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, PlatformCollector, ProcessCollector

from holdfast.server.metrics.access import AccessMetrics
from holdfast.server.metrics.answers.certify import CertifyMetrics
from holdfast.server.metrics.answers.probes import ProbeMetrics
from holdfast.server.metrics.decoding import DecodingMetrics
from holdfast.server.metrics.messages import MessageMetrics
from holdfast.server.metrics.traces import TraceMetrics
from holdfast.server.metrics.weighted import WeightedHistogram

if TYPE_CHECKING:
    from holdfast.model.answers import Answers, Ints
    from holdfast.server.core.description import ModelDescription

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
NATS = (-5, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20)
DISTANCE = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5)
P_VALUE = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
POWERS_OF_TWO = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


RefusalReason = Literal["queue", "caller", "rate", "replies", "deadline"]
"""What there was too much of where images were refused."""

UnwantedReason = Literal["cancelled", "late"]
"""Why nobody waits for images that were embedded."""


class CallMetrics:
    """The three standard metrics of one gRPC method, its label children looked up once."""

    def __init__(self, started: Counter, handled: Counter, handling: Histogram, labels: tuple[str, str, str]) -> None:
        self.started = started.labels(*labels)
        self.seconds = handling.labels(*labels)
        self._handled, self._labels = handled, labels
        self._codes: dict[str, Counter] = {}
        self.handled("OK")  # so that the series is there from the start

    def handled(self, code: str) -> Counter:
        """The counter of calls that ended with this status code, such as "OK"."""
        child = self._codes.get(code)
        if child is None:
            child = self._codes[code] = self._handled.labels(*self._labels, code)
        return child


class Metrics:
    """One process's metrics, in a registry of their own.

    Args:
        calls: whether this process takes calls. Metrics of what a process does not do can be moved, and are not shown.
        engine: whether this process runs the model.

    """

    def __init__(self, *, calls: bool = True, engine: bool = True) -> None:
        self.registry = CollectorRegistry()
        self._model: ModelDescription | None = None  # that is shown
        self._showing = threading.Lock()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._shown: CollectorRegistry | None = self.registry
        self._make_admission()
        self._shown = self.registry if calls else None
        self._make_calls()
        self.access = AccessMetrics(self._shown)
        self.traces = TraceMetrics(self._shown)
        self.certify = CertifyMetrics(self._shown)
        self.messages = MessageMetrics(self._shown)
        self._shown = self.registry if engine else None
        self._make_batching()
        self._make_model()
        self._make_answers()
        self._make_observers()

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(name, text, labels, registry=self._shown)

    def _gauge(self, name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self._shown)

    def _histogram(self, name: str, text: str, buckets: Iterable[float], labels: Iterable[str] = ()) -> Histogram:
        return Histogram(name, text, labels, buckets=tuple(buckets), registry=self._shown)

    def _make_admission(self) -> None:
        self._refused = self._counter(
            "holdfast_refused_images_total",
            "Images refused at once, by what there was too much of: queue, one caller's share, its rate, replies that are not"
            " taken, or time until the deadline.",
            ("reason",),
        )
        self._admitted = self._gauge("holdfast_admitted_images", "Images admitted now whose reply is not written.")
        self._replies = self._gauge("holdfast_admitted_reply_bytes", "Bytes of the replies to these, as estimated.")
        reasons: tuple[RefusalReason, ...] = ("queue", "caller", "rate", "replies", "deadline")
        self._refusals = {reason: self._refused.labels(reason) for reason in reasons}

    def _make_calls(self) -> None:
        method = ("grpc_type", "grpc_service", "grpc_method")
        self._started = self._counter("grpc_server_started_total", "Calls begun.", method)
        self._handled = self._counter("grpc_server_handled_total", "Calls ended, by status code.", (*method, "grpc_code"))
        self._handling = self._histogram(
            "grpc_server_handling_seconds", "Seconds from a call's begin to its end.", SECONDS, method
        )
        self.unreadable = self._counter(
            "holdfast_unreadable_messages_total",
            "Messages that could not be read: undecodable, of more parts than a call may have, or missing.",
            ("reason",),
        )
        self._rejected = self._counter(
            "holdfast_rejected_images_total", "Images refused as bad, by the field at fault.", ("field",)
        )
        self.decoding = DecodingMetrics(self._shown)

    def _make_batching(self) -> None:
        self.batch_images = self._histogram("holdfast_batch_images", "Images per batch.", POWERS_OF_TWO)
        self.engine_seconds = self._histogram("holdfast_engine_seconds", "Seconds of the model per batch.", SECONDS)
        self.queue_wait = WeightedHistogram("holdfast_queue_wait_seconds", "Seconds an image waited.", SECONDS, self._shown)
        self.engine_failures = self._counter("holdfast_engine_failures_total", "Batches on which the model failed.")
        self.late = self._counter("holdfast_late_images_total", "Images whose deadline passed in the queue.")
        self.cancelled = self._counter("holdfast_cancelled_images_total", "Images whose caller left them in the queue.")
        self._unwanted = self._counter(
            "holdfast_unwanted_images_total",
            "Images embedded for nobody: the caller had left, or it was too late.",
            ("reason",),
        )
        whys: tuple[UnwantedReason, ...] = ("cancelled", "late")
        self._unwanted_by = {why: self._unwanted.labels(why) for why in whys}
        self._queued = self._gauge("holdfast_queue_images", "Images waiting for the model now.")

    def _make_answers(self) -> None:
        self._soft_margin = WeightedHistogram(
            "holdfast_soft_margin",
            "Lead of the answer in the soft vote, nats; small or negative is easily flipped.",
            NATS,
            self._shown,
        )
        self._kth_distance = WeightedHistogram(
            "holdfast_kth_neighbour_distance",
            "Cosine distance to the k-th neighbour; large is unlike the index.",
            DISTANCE,
            self._shown,
        )
        self._credibility = WeightedHistogram(
            "holdfast_credibility", "Conformal p-value of the vote, 0 to 1.", P_VALUE, self._shown
        )
        self._abstained = self._counter("holdfast_abstain_total", "Answers too doubtful to rely on.")
        self._poison_tolerance = WeightedHistogram(
            "holdfast_poison_tolerance",
            "Exemplars that could be inserted without changing the answer, of one answer in 128; an exact index alone tells.",
            (0, *POWERS_OF_TWO),
            self._shown,
        )

    def _make_model(self) -> None:
        self._disagreement = self._gauge(
            "holdfast_index_disagreement_ratio", "Share of exemplars whose own neighbours have another label, 0 to 1."
        )
        self._bundle = Info("holdfast_bundle", "The bundle that is served.", registry=self._shown)
        self._device = Info("holdfast_device", "Where encoder and index run.", registry=self._shown)

    def _make_observers(self) -> None:
        self.observer_shed = self._counter(
            "holdfast_observer_shed_images_total", "Images that an observer had no time to look at.", ("observer",)
        )
        self.observer_failures = self._counter(
            "holdfast_observer_failures_total", "Batches or samples on which an observer failed.", ("observer",)
        )
        self.probes = ProbeMetrics(self._shown)

    def call(self, kind: str, service: str, method: str) -> CallMetrics:
        """The metrics of one gRPC method. `kind`: unary, client_stream, server_stream or bidi_stream."""
        return CallMetrics(self._started, self._handled, self._handling, (kind, service, method))

    def watch_queue(self, queued: Callable[[], int]) -> None:
        """Read its depth at each scrape."""
        self._queued.set_function(queued)

    def watch_admission(self, admitted: Callable[[], int], reply_bytes: Callable[[], int]) -> None:
        """Read the number of images under way, and the bytes of their replies, at each scrape."""
        self._admitted.set_function(admitted)
        self._replies.set_function(reply_bytes)

    def refused(self, reason: RefusalReason) -> Counter:
        """The counter of images that were refused for this reason."""
        return self._refusals[reason]

    def unwanted(self, reason: UnwantedReason) -> Counter:
        """The counter of images that were embedded for nobody, for this reason."""
        return self._unwanted_by[reason]

    def image_rejected(self, field: str) -> None:
        """One image was refused as bad; `field` is below the image, such as "raw.shape"."""
        self._rejected.labels(field).inc()

    def answered(self, answers: "Answers") -> None:
        """N images were classified. Values that are not finite (a bundle without calibration) are left out."""
        self._soft_margin.observe_all(answers.soft_margin)
        self._kth_distance.observe_all(answers.kth_distance)
        self._credibility.observe_all(answers.credibility)
        if abstained := np.count_nonzero(answers.abstain):
            self._abstained.inc(float(abstained))

    def tolerated(self, tolerances: "Ints") -> None:
        """Poison tolerances int64 [n] of some answers; those below 0 are not known, and are left out."""
        self._poison_tolerance.observe_all(tolerances[tolerances >= 0].astype(np.float32))

    def serves(self, model: "ModelDescription") -> None:
        """Show another model, and nothing that was measured of the one before it, where that was of another bundle."""
        with self._showing:
            of_one_bundle, self._model = self._model is not None and model.is_of_bundle_of(self._model), model
            if of_one_bundle:
                return
        self.probes.begin_anew(model.version)
        self._bundle.info({"name": model.name, "created": model.created, "encoder_sha256": model.encoder_sha256[:16]})
        self._device.info({"device": model.placement.device, "gpu": model.placement.gpu})
        # A bundle that was not measured has no ratio, rather than one of 0.
        self._disagreement.set(nan if model.disagreement_ratio is None else model.disagreement_ratio)
