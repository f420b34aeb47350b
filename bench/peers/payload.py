"""The images that every server is sent, as PNG files, and the labels that each has to answer."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bench.synthetic import Pixels
from holdfast.bundle.reader import Bundle
from holdfast.model.preprocess import decode_image

COUNT = 256


@dataclass(frozen=True)
class Payload:
    """Files, and the label of each by the classifier itself."""

    files: list[bytes]
    labels: list[int]

    def save(self, path: Path) -> None:
        """To a file of numpy's."""
        lengths = [len(each) for each in self.files]
        joined = np.frombuffer(b"".join(self.files), dtype=np.uint8)
        np.savez(path, files=joined, lengths=lengths, labels=self.labels)

    @classmethod
    def load(cls, path: Path) -> "Payload":
        """What `save` has written."""
        with np.load(path) as found:
            joined, ends = found["files"].tobytes(), np.cumsum(found["lengths"])
            starts = ends - found["lengths"]
            files = [joined[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
            return cls(files, found["labels"].tolist())


def make_payload(bundle: Bundle, count: int = COUNT) -> Payload:
    """Smooth coloured pictures with some noise, of the size that the encoder takes.

    Only those are kept that the classifier answers alike alone and in a batch: sums of floats depend on the batch.
    """
    classifier, contract = bundle.classifier(), bundle.manifest.input
    files = [_png(picture) for picture in _pictures(2 * count, contract.height, contract.width)]
    images = np.stack([decode_image(each, contract) for each in files])
    together = classifier.classify(images).labels
    kept = [n for n in range(len(files)) if classifier.classify(images[n : n + 1]).labels[0] == together[n]][:count]
    return Payload([files[n] for n in kept], [int(together[n]) for n in kept])


def _pictures(count: int, height: int, width: int) -> list[Pixels]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC)) for each in coarse]
    return [np.clip(each + rng.normal(0, 4, each.shape), 0, 255).astype(np.uint8) for each in smooth]


def _png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
