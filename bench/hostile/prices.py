"""Whether images cost what their headers said: CPU seconds to decode, beside the price on this machine.

Honest ones (photographs, noise, one colour; 32 to 1,024 pixels a side) and all files of bench.hostile.images. A price may be
too high by some; one that is too low lets somebody in for less than they take.

    python -m bench.hostile.prices [--side 2048] [--json FILE]
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.harness.report import Target, run_benchmark, show, write_json
from bench.hostile import images
from holdfast.errors import ImageError
from holdfast.flags import whole_number
from holdfast.model.images import pixels
from holdfast.model.images.price import machine_factor, price
from holdfast.model.preprocess import MAX_PIXELS, InputContract, decode_image

BOUND = 3.0
CONTRACT = InputContract(height=32, width=32)
ENCODINGS: dict[str, tuple[str, dict[str, object]]] = {
    "png": ("PNG", {"compress_level": 1}),
    "webp": ("WEBP", {"method": 0}),
    "webp lossless": ("WEBP", {"lossless": True, "method": 0}),
    "jpeg": ("JPEG", {}),
    "jpeg 4:4:4": ("JPEG", {"subsampling": 0, "quality": 95}),
    "jpeg progressive": ("JPEG", {"progressive": True}),
}


def honest() -> Iterator[tuple[str, bytes]]:
    """Images as people send them, by what they are."""
    random = np.random.default_rng(0)
    for side in (32, 128, 1024):
        y, x = np.mgrid[:side, :side]
        waves = 100 + 60 * np.sin(x / 9)[..., None] + 50 * np.cos((x + 2 * y) / 23)[..., None] * np.ones(3)
        photograph = np.clip(waves + random.integers(0, 40, (side, side, 3)), 0, 255).astype(np.uint8)
        noise = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
        for content, pictured in (("photograph", photograph), ("noise", noise), ("one colour", np.full_like(noise, 99))):
            for name, (kind, how) in ENCODINGS.items():
                yield f"{name}, {content}, {side}", images.saved(pictured, kind, **how)


def seconds_of(encoded: bytes) -> float:
    """CPU seconds to decode, at best of several times; whether it is decoded or refused."""
    best, until = float("inf"), time.perf_counter() + 0.1
    while best == float("inf") or time.perf_counter() < until:
        began = time.process_time()
        try:
            decode_image(encoded, CONTRACT)
        except ImageError:
            return 0.0
        best = min(best, time.process_time() - began)
    return best


def main() -> int:
    """Runs the benchmark. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.hostile.prices", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=whole_number(64), default=2048, help="of hostile images (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    factor, rows, ratios = machine_factor(), [], {}
    for name, encoded in [*honest(), *images.attacks(options.side).items()]:
        took = seconds_of(encoded)
        if not took:  # it is refused
            continue
        header = pixels.read_header(encoded)
        pixels.check_size(header, MAX_PIXELS)
        expected = factor * price(encoded, header, CONTRACT.fitting)
        ratios[name] = took / expected
        rows.append([name, f"{len(encoded)}", f"{took * 1e3:.3f}", f"{expected * 1e3:.3f}", f"{ratios[name]:.2f}"])
    worst = max(ratios, key=lambda name: ratios[name])
    target = Target(f"seconds / price, worst of all ({worst})", ratios[worst], BOUND, at_least=False)
    columns = ["image", "bytes", "took, ms", "price, ms", "ratio"]
    show(f"prices on a machine of {factor:.2f} times the seconds", columns, rows, target)
    if options.json:
        write_json(options.json, "prices", ratios, target=target)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
