"""Changes, kills and comparisons over one store."""

import random
import threading
import time
from pathlib import Path

import grpc

from bench.live.expected_state import Expected, Listed, listed
from bench.live.killed_server import KilledServer

CALLERS = 4
JOURNAL = "journal.sqlite-wal"


class CrashHarness:
    """Changes, kills and comparisons over one store.

    Args:
        bundle: to serve.
        shape: of its images.
        scratch: an empty folder.
        seed: of what is drawn.
        flags: of the server.

    """

    def __init__(self, bundle: Path, shape: tuple[int, int, int], scratch: Path, seed: int, *flags: str) -> None:
        self._bundle, self._scratch, self._flags, self._draw = bundle, scratch, flags, random.Random(seed)
        self.store = scratch / "store"
        self._callers = [Expected(f"caller{number}", shape) for number in range(CALLERS)]
        self._counting = threading.Lock()
        self.acknowledged = self.lost = self.half_applied = 0
        self.slowest_start = 0.0

    def live(self, quota: int) -> None:
        """Start, compare, send again what had no answer, change until so many are acknowledged in all, and be killed."""
        server = self.start()
        try:
            threads = [threading.Thread(target=self._call, args=(server, caller)) for caller in self._callers]
            for thread in threads:
                thread.start()
            while self.acknowledged < quota and any(thread.is_alive() for thread in threads):
                time.sleep(0.001)
            time.sleep(self._draw.random() * 0.05)
        finally:
            server.kill()
        for thread in threads:
            thread.join()

    def start(self) -> KilledServer:
        """A server on the store, of which everything that was acknowledged is there."""
        server = KilledServer(self._bundle, self.store, self._scratch, *self._flags)
        self.slowest_start = max(self.slowest_start, server.start_seconds)
        try:
            self._compare(listed(server.stub))
            for caller in self._callers:
                if caller.pending is not None:
                    caller.acknowledge(caller.pending.send(server.stub, caller.shape))
                    self._count()
        except BaseException:
            server.kill()
            raise
        return server

    def tear(self) -> None:
        """Put half a write at the end of the journal: what a power cut leaves of a commit that nobody has seen the end of."""
        tail = self.store / JOURNAL
        if tail.exists() and tail.stat().st_size > 4152:
            frame = tail.read_bytes()[-4120:]
            with tail.open("ab") as file:
                file.write(frame + frame[: self._draw.randint(1, 4000)])

    def _call(self, server: KilledServer, caller: Expected) -> None:
        draw = random.Random(self._draw.random())
        while True:
            change = caller.next(draw)
            try:
                ids = change.send(server.stub, caller.shape)
            except grpc.RpcError:
                return  # it is sent again after the next start
            caller.acknowledge(ids)
            self._count()

    def _count(self) -> None:
        with self._counting:
            self.acknowledged += 1

    def _compare(self, there: Listed) -> None:
        self.lost += sum(caller.lost(there) for caller in self._callers)
        self.half_applied += sum(caller.half_applied(there) for caller in self._callers)
