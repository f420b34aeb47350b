"""What answers batches: a bundle's classifier behind a batcher, laid out for the device that it computes on."""

from bundle.classifier import Classifier, Found
from bundle.preprocess import Pixels
from server.answer import Batch
from server.batching import Batcher, Limits
from server.metrics import Metrics

Engine = Batcher[Found, Batch]

FINISHERS = 2
"""Threads that judge what a device has found."""


def engine_of(classifier: Classifier, limits: Limits, metrics: Metrics) -> Engine:
    """The engine, not yet started.

    On the CPU a batch is answered by one thread: a second one would only compete with it. A device stands still while the CPU
    counts votes, unless other threads do that: it takes 10 to 25 us an image, for 200 to 1,000 neighbours, which is about what
    a large GPU needs for a small encoder.
    """
    finishers = 0 if classifier.bundle.placement.device == "cpu" else FINISHERS

    def find(images: Pixels) -> Found:
        return classifier.find(images)

    def judge(found: Found) -> Batch:
        return Batch(classifier.judge(found))

    return Batcher(find, judge, limits, metrics, finishers=finishers)
