"""When images can be ready: from how long batches have taken, and from what waits.

Nothing here is configured. What has not been measured is predicted to take no time, so a server that has just started admits.
"""

from typing import NamedTuple

SMOOTHING = 0.2
"""Weight of the latest batch in the mean of its size."""

MOST_GROWTH = 2.0
"""A batch counts for at most so many times what its size took before: the machine may have stood still."""


class BatchTimes:
    """How long a batch of n images takes, learned from batches; one thread adds, any may ask.

    Small batches cost more for each image than large ones, and not by a line: sizes between two powers of two share a mean.
    """

    def __init__(self) -> None:
        self._seconds_per_image: dict[int, float] = {}  # by the number of bits of n

    def add(self, images: int, seconds: float) -> None:
        """One batch of so many images took so long."""
        bits, latest = images.bit_length(), seconds / images
        known = self._seconds_per_image.get(bits)
        if known is not None:
            latest = known + SMOOTHING * (min(latest, MOST_GROWTH * known) - known)
        self._seconds_per_image[bits] = latest

    def per_image(self, images: int) -> float:
        """Seconds for each of so many images in one batch; 0 where nothing was measured."""
        known, bits = self._seconds_per_image, images.bit_length()
        # Of the nearest size that was measured; of two as near, the smaller one, whose images cost more.
        return known[min(known, key=lambda each: (abs(each - bits), each))] if known else 0.0

    def seconds(self, images: int) -> float:
        """Seconds of one batch of so many images; 0 where nothing was measured."""
        return images * self.per_image(images)

    def most_within(self, seconds: float, most: int) -> int:
        """The most images, from 1 to `most`, whose batch takes no longer than so."""
        for bits in range(most.bit_length(), 0, -1):
            smallest, largest = 1 << (bits - 1), min(most, (1 << bits) - 1)
            each = self.per_image(smallest)
            fit = largest if each == 0.0 else min(largest, int(seconds / each))
            if fit >= smallest:
                return fit
        return 1


class Backlog(NamedTuple):
    """What is ahead of a newcomer, at one moment.

    Attributes:
        ends: when the batch that runs is expected to end, on time.monotonic()'s clock; 0 where none runs.
        queued: images that are in no batch yet.
        callers: whose images these are.
        per_image: seconds of the engine for each image where many wait.
        alone: seconds of the engine for a batch of one image.

    """

    ends: float = 0.0
    queued: int = 0
    callers: int = 0
    per_image: float = 0.0
    alone: float = 0.0

    def seconds_until(self, now: float, images: int, *, own: int, undecoded: int, decoding: float) -> float:
        """Seconds after which so many more images of one caller would be answered.

        Callers take turns, so a caller waits for its own images and as many of each other caller's, and for no more than there
        are.

        Args:
            now: time.monotonic().
            images: of the new call.
            own: images of the same caller that were admitted before and are not answered.
            undecoded: of all callers, images admitted and not in the queue yet.
            decoding: seconds until the new images are decoded.

        """
        ahead = self.queued + undecoded
        callers = self.callers if own else self.callers + 1
        if callers > 1:
            ahead = min(ahead, callers * (own + images))
        # A batch that should have ended takes longer than batches do: by as much again as it is late, as far as one can tell.
        running = abs(self.ends - now) if self.ends else 0.0
        begins = max(decoding, running + ahead * self.per_image)
        return begins + max(self.alone, images * self.per_image)


class Lateness:
    """By what factor predictions have to be stretched for most of them to be kept; learned from those that came true or not."""

    LEAST, MOST, FIRST = 1.15, 4.0, 1.25
    SHARE, STEP = 0.98, 0.004

    def __init__(self) -> None:
        self.factor = self.FIRST

    def add(self, predicted: float, actual: float) -> None:
        """What was to be ready after so many seconds was ready after so many."""
        late = actual > predicted * self.factor
        step = self.STEP * (self.SHARE if late else self.SHARE - 1)
        self.factor = min(self.MOST, max(self.LEAST, self.factor + step))
