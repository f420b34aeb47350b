"""The model and what is around it: the classifier, the batcher that feeds it, and the prober."""

from holdfast.bundle.reader import Bundle
from holdfast.errors import HoldfastError
from holdfast.model.classifier import Classifier, Retrieval
from holdfast.model.encoder.device import Device
from holdfast.model.preprocess import Pixels
from holdfast.server.api.grpc_server import Served
from holdfast.server.api.model_info import model_info
from holdfast.server.core.batching import Batcher, Limits
from holdfast.server.core.result import Batch
from holdfast.server.monitor.metrics import Metrics
from holdfast.server.monitor.probes import Prober
from holdfast.server.settings import Settings

ModelBatcher = Batcher[Retrieval, Batch]

FINISHERS = 2
"""Threads that judge what a device has found."""


class Engine:
    """Owns the device: the only part of the server that runs the encoder and searches the index."""

    def __init__(self, settings: Settings, bundle: Bundle, metrics: Metrics) -> None:
        self.classifier = bundle.classifier()
        metrics.serves(bundle)
        limits = Limits(settings.max_batch, settings.max_wait, settings.queue_images)
        self.batcher = batcher_of(self.classifier, limits, metrics, bundle.placement.device)
        self.prober = _prober(settings, bundle, self.classifier, metrics, self.batcher)
        self.served = Served(model_info(bundle, settings), bundle.manifest.input)

    def stop(self) -> None:
        """Finish what is queued, and end all threads."""
        if self.prober is not None:
            self.prober.stop()
        self.batcher.stop()


def batcher_of(classifier: Classifier, limits: Limits, metrics: Metrics, device: Device) -> ModelBatcher:
    """What feeds the classifier, not yet started.

    On the CPU a batch is answered by one thread: a second one would only compete with it. A device stands still while the CPU
    counts votes, unless other threads do that: it takes 10 to 25 us an image, for 200 to 1,000 neighbours, which is about what
    a large GPU needs for a small encoder.
    """
    finishers = 0 if device == "cpu" else FINISHERS

    def find(images: Pixels) -> Retrieval:
        return classifier.retrieve(images)

    def judge(found: Retrieval) -> Batch:
        return Batch(classifier.decide(found))

    return Batcher(find, judge, limits, metrics, finishers=finishers)


def _prober(
    settings: Settings, bundle: Bundle, classifier: Classifier, metrics: Metrics, batcher: ModelBatcher
) -> Prober | None:
    """The prober, where it is on; its radii are the bundle's unless said otherwise."""
    if settings.probe_rate == 0:
        return None
    if not settings.probe_epsilons:
        threat = bundle.manifest.threat_model
        if threat.norm != "linf" or threat.epsilon == 0:
            raise HoldfastError("the bundle names no L-infinity radius to probe at; set --probe-epsilons")
        settings = settings.model_copy(update={"probe_epsilons": (threat.epsilon,)})
    return Prober(settings, classifier, bundle.gradient, metrics, batcher.idle)
