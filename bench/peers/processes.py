"""All processes of a server, whatever became of their parents: they carry a mark in their environment.

Linux only: what they use is read from /proc.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "BENCH_PEER_MARK"
TICKS = os.sysconf("SC_CLK_TCK")
GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True)
class ProcessGroup:
    """Processes that were started with BENCH_PEER_MARK=`mark`, and all that those have started."""

    mark: str

    def pids(self) -> set[int]:
        """Those that run now."""
        parents: dict[int, int] = {}
        found = set()
        wanted = f"{MARK}={self.mark}".encode()
        for each in Path("/proc").glob("[0-9]*"):
            with suppress(*GONE):
                pid = int(each.name)
                parents[pid] = int(_fields(pid)[1])
                if wanted in (each / "environ").read_bytes().split(b"\0"):
                    found.add(pid)
        # Some clear their environment.
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found

    def cpu(self) -> float:
        """CPU seconds, user and system, of all of them so far, and of those of their children that have ended."""
        return sum(self._of_each(_cpu))

    def pss(self) -> int:
        """Bytes of memory, what is shared divided among those who share it."""
        return int(sum(self._of_each(_pss)))

    def end(self, grace: float = 20.0) -> None:
        """SIGTERM to all, and SIGKILL to those that have not ended after `grace` seconds."""
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, grace)):
            for pid in self.pids():
                with suppress(*GONE):
                    os.kill(pid, number)
            end = time.monotonic() + seconds
            while (left := self._alive()) and time.monotonic() < end:
                time.sleep(0.05)
            if not left:
                return

    def _alive(self) -> set[int]:
        alive = set()
        for pid in self.pids():
            with suppress(*GONE):
                if _fields(pid)[0] != "Z":
                    alive.add(pid)
        return alive

    def _of_each(self, read: "object") -> Iterator[float]:
        for pid in self.pids():
            with suppress(*GONE):
                yield read(pid)  # type: ignore[operator]


def _fields(pid: int) -> list[str]:
    """/proc/PID/stat from the third field on; the second may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _cpu(pid: int) -> float:
    return sum(map(int, _fields(pid)[11:15])) / TICKS


def _pss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    return 0
