"""What answers batches: a bundle's classifier behind a batcher, laid out for the device that it computes on."""

from bundle.classifier import Classifier, Found
from bundle.preprocess import Pixels
from server.answer import Batch
from server.batching import Batcher, Limits
from server.metrics import Metrics

Engine = Batcher[Found, Batch]


def engine_of(classifier: Classifier, limits: Limits, metrics: Metrics) -> Engine:
    """The engine, not yet started.

    On the CPU a batch is answered by one thread: a second one would only compete with it. A device stands still while the CPU
    counts votes, unless another thread does that: for a small encoder on a large GPU it would be half of the time.
    """

    def find(images: Pixels) -> Found:
        return classifier.find(images)

    def judge(found: Found) -> Batch:
        return Batch(classifier.judge(found))

    return Batcher(find, judge, limits, metrics, overlap=classifier.bundle.placement.device != "cpu")
