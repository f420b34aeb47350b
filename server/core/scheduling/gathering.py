"""How many images are worth waiting for, before a batch is begun."""


class Gathering:
    """Expects as many images as callers had under way at a time, while each of the two latest batches was formed and run.

    Callers who ask again once they are answered come back together: a batch that waits for all of them is larger, and costs
    less for each. A caller alone waits for nobody, and two who met by chance do not make the next one wait. Whoever uses it
    from several threads holds a lock.
    """

    def __init__(self) -> None:
        self._running = 0
        self._most = self._latest = self._before = 0

    def came(self, waiting: int) -> None:
        """Some images came; so many wait now."""
        self._most = max(self._most, waiting + self._running)

    def began(self, waiting: int, images: int) -> None:
        """So many waited, and a batch of so many of them was begun."""
        self._running = images
        self._before, self._latest, self._most = self._latest, self._most, waiting

    def ended(self) -> None:
        """The batch that was begun last has ended."""
        self._running = 0

    def expected(self) -> int:
        """Images for which the next batch may wait."""
        return min(self._latest, self._before)
