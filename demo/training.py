"""Trainings in processes of their own, so that the encoders that are finished can be attacked meanwhile.

A training computes with one thread, as its result depends on their number. The other core is for the other work.
"""

import csv
import multiprocessing
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Thread
from typing import Any

from rich.progress import Progress

from demo.pipeline import Entry
from holdfast import data
from holdfast.bundle.reader import TRAINING_LOG
from holdfast.data import Splits
from holdfast.errors import HoldfastError
from holdfast.exit_status import REFUSED
from holdfast.interrupts import sigterm_interrupts
from holdfast.trainer.config import TrainConfig
from holdfast.trainer.train import train

POLL_S = 0.5
"""Between two looks at the logs of the trainings."""

END_GRACE_S = 10.0
"""For a process that is told to end, before it is killed."""


class TrainingProcess:
    """A process that trains some entries, one after the other. Its steps are read from their log.csv."""

    def __init__(self, entries: Sequence[Entry], out: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.entries = tuple(entries)
        self._receiver, sender = context.Pipe(duplex=False)
        self._finished: set[str] = set()
        configs = {entry.name: entry.config(out) for entry in entries}
        self._process = context.Process(target=_train, args=(configs, sender), name=f"train {', '.join(configs)}", daemon=True)
        self._process.start()
        sender.close()

    @property
    def running(self) -> bool:
        """Whether it is still computing."""
        return self._process.is_alive()

    def wait_for(self, entry: Entry) -> None:
        """Return once `entry` is trained.

        Raises:
            HoldfastError: it could not be trained.

        """
        while entry.name not in self._finished:
            try:
                name, error = self._receiver.recv()
            except EOFError:
                self._process.join()
                status = self._process.exitcode
                raise HoldfastError(f"the training of {entry.name} ended with status {status}; try --fresh") from None
            if error is not None:
                raise HoldfastError(f"the training of {name} failed: {error}")
            self._finished.add(name)

    def tell_to_end(self) -> None:
        """Send SIGTERM; a checkpoint that is being written is finished or given up."""
        self._process.terminate()

    def end(self) -> None:
        """End the process, whatever it does, and wait until it is gone."""
        self.tell_to_end()
        self._process.join(END_GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._receiver.close()


@contextmanager
def trainings(groups: Sequence[Sequence[Entry]], out: Path, progress: Progress) -> Iterator[dict[str, TrainingProcess]]:
    """Train every group in a process of its own; yields the one of each entry by its name, and ends all at the end.

    Args:
        groups: entries that one process trains, in order.
        out: directory of the demo.
        progress: where each training has a bar.

    """
    begun = [TrainingProcess(group, out) for group in groups if group]
    ended = Event()
    watch = Thread(target=_watch, args=(begun, out, progress, ended), name="watch", daemon=True)
    watch.start()
    try:
        yield {entry.name: training for training in begun for entry in training.entries}
    finally:
        ended.set()
        for training in begun:
            training.tell_to_end()
        for training in begun:
            training.end()
        watch.join()


def steps_done(directory: Path) -> int:
    """Steps of a run that its log.csv tells of, over all of its stages; 0 where there is no log yet."""
    try:
        with (directory / TRAINING_LOG).open(newline="", encoding="utf-8") as file:
            last = {row["stage"]: int(row["step"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, TypeError):  # not yet there, or a line is half written
        return 0
    return sum(last.values())


def _watch(begun: Sequence[TrainingProcess], out: Path, progress: Progress, ended: Event) -> None:
    """Move the bars until `ended`."""
    bars: dict[str, Any] = {}
    for entry in (entry for training in begun for entry in training.entries):
        config = entry.config(out)
        # A stage that is taken from another entry is behind it from the beginning, and has no lines in its log.
        own = config.stages[-1:] if entry.starts_from else config.stages
        bars[entry.name] = progress.add_task(f"train {entry.name}", total=sum(stage.steps for stage in own))
    while not ended.wait(POLL_S):
        for name, bar in bars.items():
            progress.update(bar, completed=steps_done(out / name))


def _train(configs: Mapping[str, TrainConfig], sender: Connection) -> None:
    """What the process does; it sends (name, error) once an entry is trained, or could not be."""
    # ctrl-c reaches every process of the terminal: the one that started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with sigterm_interrupts():
        try:
            splits = data.load("digits")
            for name, config in configs.items():
                _train_one(name, config, splits, sender)
        except KeyboardInterrupt:
            return


def _train_one(name: str, config: TrainConfig, splits: Splits, sender: Connection) -> None:
    try:
        train(config, splits)
    except HoldfastError as error:
        sender.send((name, str(error)))
        raise SystemExit(REFUSED) from None
    sender.send((name, None))
