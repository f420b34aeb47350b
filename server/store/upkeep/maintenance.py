"""What is done beside the changes, on a thread of low priority: folding them into a bundle, and calibrating anew."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from holdfast.bundle.calibration_set import CalibrationSet
from holdfast.bundle.reader import Bundle
from holdfast.errors import HoldfastError
from holdfast.model.retrieval.shared import SharedRetriever
from holdfast.server.core.holder import ModelHolder
from holdfast.server.metrics.exemplars import ExemplarMetrics
from holdfast.server.monitor.probes.priority import lower_thread_priority
from holdfast.server.store.errors import StoreError, StoreFullError
from holdfast.server.store.journal.creation import BUNDLES
from holdfast.server.store.journal.journal import ChangeJournal
from holdfast.server.store.opening import Base, identity_of, state_of
from holdfast.server.store.options import StoreOptions
from holdfast.server.store.served import StoreState
from holdfast.server.store.upkeep.compaction import FoldedBase, calibrated, clear_leftovers, write_base
from holdfast.server.store.upkeep.moving import Destination, Publish, follow

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 3600.0


@dataclass(frozen=True, eq=False)
class Ground:
    """The bundle below a store.

    Attributes:
        source: where its encoder's files are.
        held_out: images to calibrate on; None where it has none.

    """

    source: Path
    held_out: CalibrationSet | None


class Maintenance:
    """Watches how much has changed.

    Args:
        options: of the store.
        journal: of the store.
        state: of the store; replaced where its base is.
        ground: the bundle below it.
        show: tells the metrics.

    """

    def __init__(
        self, options: StoreOptions, journal: ChangeJournal, state: StoreState, ground: Ground, show: Callable[[], None]
    ) -> None:
        self._options, self._journal, self._state, self.ground, self._show = options, journal, state, ground, show
        self._look, self._stopping = threading.Event(), threading.Event()
        self._failures, self._fold_again_at = 0, 0.0  # in a row; time.monotonic() from which the next fold may be tried
        self._thread = threading.Thread(target=self._run, name="store-maintenance", daemon=True)
        self._working = threading.Lock()
        self._holder: ModelHolder
        self._metrics: ExemplarMetrics

    def start(self, holder: ModelHolder, metrics: ExemplarMetrics) -> None:
        """Begin to watch."""
        self._holder, self._metrics = holder, metrics
        self._thread.start()
        self.look()

    def look(self) -> None:
        """Something has changed. Any thread may call it, often."""
        self._look.set()

    def stop(self) -> None:
        """Finish what is being done, and end."""
        self._stopping.set()
        self._look.set()
        if self._thread.is_alive():
            self._thread.join()

    def compact(self) -> None:
        """Fold what is served into a bundle now. Raises HoldfastError; the store then stands where it stood."""
        with self._working:
            self._compact()

    def follow(self, to: Destination, publish: Publish, held_out: CalibrationSet | None) -> None:
        """Serve another bundle with everything that was changed. Raises as `holdfast.server.store.upkeep.moving.follow`."""
        state = self._state
        with self._working, state.changing:
            before, standing = self._holder.current, self._journal.standing()
            if standing is not None and standing.origin == identity_of(to.bundle.manifest):
                publish(state.served.placed_in(to.snapshot))
            else:
                if isinstance(state.served.index.base, SharedRetriever) or isinstance(to.bundle.index, SharedRetriever):
                    raise StoreError(
                        f"a store over an index that other servers search does not follow to {to.bundle.directory}: restart the"
                        " server with that bundle and another --store"
                    )
                try:
                    fresh = follow(self._journal, to, publish)
                except StoreFullError:
                    if self._holder.current is not before:  # it was served before it was known that there was no room
                        publish(before)
                    raise
                state.known, state.served = fresh.known, fresh.served
                clear_leftovers(self._journal.directory, "")
            self.ground, self._failures, self._fold_again_at = Ground(to.bundle.directory, held_out), 0, 0.0
            self._show()
        self.look()

    def _run(self) -> None:
        lower_thread_priority()
        while True:
            self._look.wait(max(0.0, self._fold_again_at - time.monotonic()) if self._failures else None)
            self._look.clear()
            if self._stopping.is_set():
                return
            try:
                with self._working:
                    self._work()
            except Exception:  # whatever it was, changes go on
                log.exception("the store could not be looked after")

    def _work(self) -> None:
        served, most = self._state.served, self._options.compact_after
        if isinstance(served.index.base, SharedRetriever):
            most = 0  # its rows are written to where they are, see holdfast.server.store.mirror
        much, due = bool(most) and served.index.changed >= most, time.monotonic() >= self._fold_again_at
        if due and not much:
            self._failures, self._fold_again_at = 0, 0.0
        if due and much:
            self._fold()
        elif served.stale and self.ground.held_out is not None:
            self._recalibrate(self.ground.held_out)

    def _fold(self) -> None:
        try:
            self._compact()
        except Exception as error:
            # It may fail again, and cost as much again.
            pause = min(LONGEST_PAUSE_S, self._options.fold_again_s * 2 ** min(self._failures, 32))
            self._failures, self._fold_again_at = self._failures + 1, time.monotonic() + pause
            self._metrics.compactions.labels("failed").inc()
            unforeseen = None if isinstance(error, HoldfastError) else error
            log.error("changes are not folded into a bundle; tried again in %g s: %s", pause, error, exc_info=unforeseen)  # noqa: TRY400
        else:
            self._failures, self._fold_again_at = 0, 0.0

    def _recalibrate(self, held_out: CalibrationSet) -> None:
        with self._state.changing:
            served, counts = self._state.served, np.array(self._state.known.counts)
        vote = served.vote.corrected(counts)
        calibration = calibrated(served.index, vote, held_out, len(served.class_names), served.calibration)
        with self._state.changing:
            now = self._state.served
            if now.index.base is not served.index.base:
                return
            self._state.served = now.recalibrated(calibration, vote, served)
            self._holder.publish_next(self._state.served.placed_in)
            self._show()
        self._metrics.recalibrations.inc()
        log.info("credibility is calibrated anew, on %d held-out images, as of change %d", len(held_out), served.sequence)

    def _compact(self) -> None:
        state = self._state
        with state.changing:
            served, known = state.served, state.known
            rows, next_id = dict(known.rows), known.next_id
        folded = FoldedBase.of(self.ground.source, served, known.base, rows, next_id)
        try:
            self._stand_on(folded)
        except BaseException:
            standing = self._journal.standing()
            clear_leftovers(self._journal.directory, standing.base if standing is not None else "")
            raise
        self._metrics.compactions.labels("done").inc()

    def _stand_on(self, folded: FoldedBase) -> None:
        state = self._state
        name = f"{folded.sequence:012d}"
        target = self._journal.directory / BUNDLES / name
        if not target.exists():
            write_base(folded, self.ground.held_out, target, self._holder.current.classifier)
        base = base_at(target, self._holder.current.description.placement.device)
        standing = self._journal.standing()
        assert standing is not None  # noqa: S101 - an open store stands on something
        with state.changing:
            with state.folding:
                self._journal.fold(
                    replace(standing, base=name, folded=folded.sequence, class_names=folded.class_names),
                    folded.bank.ids,
                    folded.sequence,
                )
                fresh = state_of(self._journal, base, self._options.stale_above, folded.sequence)
                state.known, state.served = fresh.known, fresh.served
            self._holder.publish_next(state.served.placed_in)
            self._show()
        clear_leftovers(self._journal.directory, name)
        log.info("%d exemplars are a bundle of their own now: %s", len(folded.bank.ids), target)


def base_at(directory: Path, device: str) -> Base:
    """A base that `write_base` wrote, verified. Raises BundleError where it is not what was written."""
    bundle = Bundle.open(directory, device="cuda" if device == "cuda" else "cpu")
    return Base.of(bundle, bundle.classifier().surrogate)
