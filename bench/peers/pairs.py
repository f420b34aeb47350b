"""Holdfast and one peer side by side, asked in turns; which is first is left to chance in every pair."""

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from bench.peers.parts import measure_parts
from bench.peers.payload import Payload
from bench.peers.report.results import Numbers
from bench.peers.running import RunningPeer, Setup, load_command, running
from bench.peers.table import ECHO, HOLDFAST, Peer
from holdfast.bundle.reader import Bundle
from holdfast.errors import HoldfastError

MANY_IMAGES, MANY_CALLERS, MANY_CALLS = 32, 4, 80


@dataclass(frozen=True)
class Amount:
    """How much is asked in each turn.

    Attributes:
        callers: side by side.
        calls: of all of them.
        alone: calls of one caller, before.
        overload: seconds of an open loop at twice the capacity, after.

    """

    callers: int = 64
    calls: int = 2000
    alone: int = 300
    overload: float = 3.0


@contextmanager
def side_by_side(peer: Peer, setup: Setup, amount: Amount) -> Iterator[Callable[[], Numbers]]:
    """Starts both, and yields what measures one pair."""
    with running(HOLDFAST, setup) as ours, running(peer, setup) as theirs:

        def measure() -> Numbers:
            order = [ours, theirs]
            random.shuffle(order)
            found: Numbers = {}
            for server in order:
                name = "holdfast" if server is ours else "peer"
                found[name] = _ask(server, setup, amount, overload=peer is not ECHO)
            found["first"] = "holdfast" if order[0] is ours else "peer"
            if peer is ECHO:
                found |= _parts(ours, setup, found["holdfast"]["crowd"]["batch"])
            return found

        yield measure


def _ask(server: RunningPeer, setup: Setup, amount: Amount, *, overload: bool) -> Numbers:
    seconds = amount.overload if overload else 0.0
    found = _load(server, setup, callers=amount.callers, calls=amount.calls, alone=amount.alone, overload=seconds)
    return {"start_seconds": server.start_seconds, "pss": server.group.pss(), **found}


def _parts(ours: RunningPeer, setup: Setup, batch: float) -> Numbers:
    """The parts at the batches that occurred; and calls of many images, with the parts at theirs."""
    bundle, payload = Bundle.open(setup.bundle), Payload.load(setup.payload)
    many = _load(ours, setup, callers=MANY_CALLERS, calls=MANY_CALLS, images=MANY_IMAGES)["many"]
    return {
        "parts": asdict(measure_parts(bundle, payload, batch)),
        "many": many,
        "many_parts": asdict(measure_parts(bundle, payload, many["batch"])),
    }


def _load(server: RunningPeer, setup: Setup, **flags: object) -> Numbers:
    done = subprocess.run(load_command(server, setup, **flags), capture_output=True, text=True, check=False)
    if done.returncode:
        raise HoldfastError(f"{server.peer.title} could not be measured: {done.stderr.strip()[-1500:]}")
    found: Numbers = json.loads(done.stdout)
    return found
