"""Mutated images by the million: each is decoded or refused with a reason, and costs what it was said to cost.

Input number i follows from the seed, i and the seed images alone, so any of them can be made again. What has been done is in
a folder, and the next run goes on from there. An input that does anything else than to be decoded or refused is kept in it, and
so is one that ends the process: the next run counts it and passes it by.

    python -m bench.hostile.fuzz --inputs 1000000 --state FOLDER [--seeds FOLDER ...]
"""

import argparse
import json
import random
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from bench.harness.report import run_benchmark
from bench.hostile.mutations import mutate
from bench.hostile.seeds import generated, of_folders
from holdfast.errors import ImageError
from holdfast.flags import whole_number
from holdfast.model.images import pixels
from holdfast.model.images.fitting import Fitting, fit
from holdfast.model.images.price import BASE, machine_factor, price

FITTING, MAX_PIXELS = Fitting(32, 32), 2**17
SAVE_EVERY = 2000
ALLOWED_S, TIMES_PRICE = 0.02, 6.0
"""An input may take so many CPU seconds, and beyond them so many times its price, before it counts as dearer than it looked."""


@dataclass
class FuzzState:
    """What has come of the inputs so far; seconds are of CPU, memory in MiB."""

    seed: int
    done: int = 0
    decoded: int = 0
    refused: int = 0
    unforeseen: list[str] = field(default_factory=list)
    dearer: list[str] = field(default_factory=list)
    slowest: float = 0.0
    slowest_input: int = -1
    seconds: float = 0.0
    memory: int = 0


def fuzz(state: FuzzState, seeds: Sequence[bytes], until: int, folder: Path | None = None) -> None:
    """Take inputs from `state.done` up to `until`; what is at fault is kept in `folder`."""
    with ExitStack() as stack:
        # Says at which input the run is, for the case that it is the last.
        note = stack.enter_context((folder / "input").open("w")) if folder is not None else None
        _fuzz(state, seeds, until, folder, note)


def _fuzz(state: FuzzState, seeds: Sequence[bytes], until: int, folder: Path | None, note: TextIO | None) -> None:
    factor, ended = machine_factor(), {int(text.split(":")[0]) for text in state.unforeseen}
    while state.done < until:
        number = state.done
        data = mutate(random.Random(f"{state.seed}/{number}"), seeds)
        if number in ended:
            state.done += 1
            continue
        if note is not None:
            note.seek(0)
            note.write(f"{number}\n")
            note.flush()
        began = time.process_time()
        expected = BASE
        try:
            header = pixels.read_header(data)
            pixels.check_size(header, MAX_PIXELS)
            expected = factor * price(data, header, FITTING)
            fit(pixels.decode(data, header, FITTING.whole, MAX_PIXELS), FITTING)
            state.decoded += 1
        except ImageError:
            state.refused += 1
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            state.unforeseen.append(f"{number}: {error!r}"[:200])
            _keep(folder, number, data)
        took = time.process_time() - began
        if took > ALLOWED_S + TIMES_PRICE * expected:
            state.dearer.append(f"{number}: {took:.3f} s of {expected:.4f}")
            _keep(folder, number, data)
        if took > state.slowest:
            state.slowest, state.slowest_input = took, number
        state.seconds += took
        state.done += 1
        state.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        if folder is not None and state.done % SAVE_EVERY == 0:
            save(state, folder)


def _keep(folder: Path | None, number: int, data: bytes) -> None:
    if folder is not None:
        (folder / f"input-{number}.bin").write_bytes(data)


def save(state: FuzzState, folder: Path) -> None:
    """Write the state, aside and renamed."""
    part = folder / "state.json.part"
    part.write_text(json.dumps(asdict(state), indent=1))
    part.replace(folder / "state.json")


def load(folder: Path, seed: int) -> FuzzState:
    """The state of an earlier run in this folder, or a new one; if that run died over an input, it is counted."""
    file, at = folder / "state.json", folder / "input"
    state = FuzzState(**json.loads(file.read_text())) if file.exists() else FuzzState(seed)
    if at.exists() and (number := at.read_text().split()) and int(number[0]) >= state.done:
        state.unforeseen.append(f"{number[0]}: ended the process")
    return state


def main() -> int:
    """Returns 0 where no input was unforeseen or dearer than its price, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.hostile.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=whole_number(1), default=1_000_000, help="in all (default: %(default)s)")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of a new run (default: %(default)s)")
    parser.add_argument("--state", type=Path, required=True, help="folder of the run's state and of what is at fault")
    parser.add_argument("--seeds", type=Path, nargs="*", default=[], help="folders of images beside those made on the spot")
    options = parser.parse_args()
    options.state.mkdir(parents=True, exist_ok=True)
    seeds = [*generated(), *of_folders(options.seeds)]
    state = load(options.state, options.seed)
    try:
        fuzz(state, seeds, options.inputs, options.state)
    finally:  # also where somebody has had enough
        save(state, options.state)
        (options.state / "input").unlink(missing_ok=True)
    print(json.dumps({**asdict(state), "seeds": len(seeds)}, indent=1))
    return 1 if state.unforeseen or state.dearer else 0


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
