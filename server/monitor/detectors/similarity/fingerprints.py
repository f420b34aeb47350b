"""Blacklight's fingerprints (Li et al. 2022, arXiv 2006.14042): images that are in large part the same, pixel by pixel.

Pixels are quantised by steps of 50, windows of 20 values in a row are hashed with a secret, and the 50 largest hashes are an
image's fingerprint; two of one image share 25 of these or more. It sees what the means of cells do not: an image of which a
part was replaced. Unlike the paper, a match alone is no alarm, since frames of a film and scanned forms match as well: it is
evidence where the difference is not of motion and the answer moved.

The price decides two further differences. Brightness is hashed, not three colours: a third of the work. And not by SHA-256,
which costs about what a small encoder does: a window of 20 values of 0 to 5 is a number to a secret odd base, modulo 2^32, and
that is mixed. Nobody is told a hash, so a preimage is of no use.
"""

from collections import deque
from secrets import randbits

import numpy as np
from numpy.typing import NDArray

from holdfast.model.preprocess import Pixels
from holdfast.server.monitor.detectors.alike.cluster import Cluster
from holdfast.server.monitor.detectors.detector import ALL, DetectorContext, TrafficDetector
from holdfast.server.monitor.detectors.traffic import ObservedTraffic

LEVELS, WINDOW, KEPT, SHARED = 50, 20, 50, 25
"""Of the paper, for images of 32 x 32."""

THRESHOLD = 12.0
"""Images that are evidence."""

PLACE_BITS = 18
"""Of a digest, say where the number of the latest image that has it is kept. Of 2,048 images a third are overwritten. A
match by chance would take 25 of one image."""

MOST_NUMBER = 2**31 - 2**20
"""Of images, before they are numbered anew."""

Digests = NDArray[np.uint32]


class Fingerprinter:
    """Makes fingerprints, with a secret of its own: those of two cannot be compared."""

    def __init__(self) -> None:
        powers = [np.uint32(1)]
        with np.errstate(over="ignore"):
            base = np.uint32(randbits(32) | 1)
            for _ in range(WINDOW - 1):
                powers.append(powers[-1] * base)
            self._sum = np.uint32(np.array(powers).sum(dtype=np.uint32))
        self._powers = powers
        self._factors = [np.uint32(randbits(32) | 1) for _ in range(2)]

    def digests(self, images: Pixels) -> Digests:
        """The fingerprint of each image uint8 [N, H, W, C]: uint32 [N, KEPT], 0 where an image has fewer different windows.

        Windows of one value alone are left out: they say nothing of an image.
        """
        grey = images[..., 0].astype(np.uint16)
        for channel in range(1, images.shape[-1]):  # a sum over the last axis takes several times as long
            grey += images[..., channel]
        values = (grey // np.uint16(LEVELS * images.shape[-1])).astype(np.uint32).reshape(len(images), -1)
        found = np.zeros((len(images), KEPT), np.uint32)
        windows = values.shape[1] - WINDOW + 1
        if windows < 1:
            return found
        hashes = self._windows(values)
        flat = hashes == values[:, :windows] * self._sum
        hashes = self._mixed(hashes)
        hashes[flat] = 0
        kept = min(KEPT, windows)
        found[:, :kept] = np.sort(np.partition(hashes, windows - kept, axis=1)[:, windows - kept :], axis=1)
        found[:, 1:][found[:, 1:] == found[:, :-1]] = 0  # one that an image has often is shared once
        return found

    def _windows(self, values: Digests) -> Digests:
        """Each window as one number, from sums of half its length. Shape: [N, n] -> [N, n - WINDOW + 1]."""
        sums, length, of_four = values, 1, values
        while 2 * length <= WINDOW:
            sums = sums[:, :-length] + sums[:, length:] * self._powers[length]
            length *= 2
            if length == WINDOW - 16:
                of_four = sums
        joined: Digests = sums[:, : of_four.shape[1] - 16] + of_four[:, 16:] * self._powers[16]
        return joined

    def _mixed(self, hashes: Digests) -> Digests:
        """The same in an order that nobody knows."""
        for factor in self._factors:
            hashes = (hashes ^ (hashes >> np.uint32(15))) * factor
        mixed: Digests = hashes ^ (hashes >> np.uint32(16))
        return mixed


class Fingerprints(TrafficDetector):
    """Of the images of all callers together, the latest of them."""

    name = "fingerprints"
    by_similarity = True

    def __init__(self, context: DetectorContext) -> None:
        super().__init__(context)
        self._fingerprinter = Fingerprinter()
        self._latest: deque[Cluster] = deque(maxlen=context.settings.detector_images)
        self._images = 0
        self._places = np.full(2**PLACE_BITS, -1, np.int32)  # numbers of images

    @classmethod
    def make(cls, context: DetectorContext) -> "Fingerprints":
        """Every bundle will do."""
        return cls(context)

    def look(self, traffic: ObservedTraffic) -> None:
        """One reason for each image that is asked while evidence about it and those that match is above the threshold.

        Images are compared with those of earlier batches alone.
        """
        near = self.context.near
        queries, known = near.queries(traffic)
        digests = self._fingerprinter.digests(np.stack([query.detail for query in queries]))
        places = (digests >> np.uint32(32 - PLACE_BITS)).astype(np.intp)
        clusters = self._matches(places)
        for row, (query, changes) in enumerate(zip(queries, known, strict=True)):
            cluster = clusters.get(row)
            if cluster is None:
                self._latest.append(Cluster.begin(query))
                continue
            self._latest.append(cluster)
            if cluster.add(query, near.normal, changes) and cluster.evidence >= THRESHOLD:
                self.alarm(ALL, cluster.evidence, THRESHOLD)
        self._places[places] = self._images + np.arange(len(queries))[:, None]
        self._places[0] = -1  # where images have fewer windows
        self._images += len(queries)
        if self._images > MOST_NUMBER:
            self._places[:], self._images = -1, len(self._latest)

    def _matches(self, places: NDArray[np.intp]) -> dict[int, Cluster]:
        """By row of [N, KEPT], what an earlier image that has SHARED of its places belongs to."""
        numbers = np.sort(self._places[places], axis=1)
        begins = numbers[:, : KEPT - SHARED + 1]
        shared = np.where(numbers[:, SHARED - 1 :] == begins, begins, -1).max(axis=1)
        oldest = self._images - len(self._latest)
        return {row: self._latest[int(shared[row]) - oldest] for row in np.flatnonzero(shared >= oldest).tolist()}
