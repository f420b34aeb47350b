"""Whether a device answers as the CPU does: every test image of a bundle's data set, classified by both.

What was evaluated is what is to be served: labels are to be the same on 99.9 % of the images at least. Also measured:
the largest difference of a similarity, and how often credibility and abstention differ.

    python -m bench.parity --bundle DIR --device cuda [--data-dir DIR] [--batch 256] [--json FILE]
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness.environment import add_device_flag, add_precision_flag, restart_with_one_thread
from bench.harness.report import Target, run_benchmark, show, write_json
from holdfast.flags import whole_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.model.answers import Answers
    from holdfast.model.device_choice import Precision
    from holdfast.model.encoder.device import Device

BOUND = 0.999


def measure(
    directory: Path, device: "Device", precision: "Precision", *, data_dir: Path | None, batch: int
) -> tuple[str, dict[str, float]]:
    """Where the second answers came from, and how they compare with the CPU's."""
    # Imported here: these libraries read their environment when they are imported, and main sets it first.
    import numpy as np  # noqa: PLC0415

    from holdfast.bundle.reader import Bundle  # noqa: PLC0415
    from holdfast.console import track  # noqa: PLC0415
    from holdfast.data import load_recorded  # noqa: PLC0415

    on_cpu, other = Bundle.open(directory), Bundle.open(directory, device=device, max_batch=batch, precision=precision)
    one, two = on_cpu.classifier(), other.classifier()
    test = load_recorded(on_cpu.manifest, data_dir).test
    pairs = []
    for start in track(range(0, len(test), batch), description="classifying"):
        images = test.images[start : start + batch]
        pairs.append((one.classify(images), two.classify(images)))

    def share(differs: "Callable[[Answers, Answers], np.ndarray[tuple[int], np.dtype[np.bool_]]]") -> float:
        return float(np.concatenate([differs(a, b) for a, b in pairs]).mean())

    # Embeddings are compared, and not the similarities of ranks: where two neighbours change places, so do those.
    furthest = max(float(np.abs(a.embeddings - b.embeddings).max()) for a, b in pairs)
    return str(other.placement), {
        "images": len(test),
        "same_label": share(lambda a, b: a.labels == b.labels),
        "other_credibility": share(lambda a, b: ~np.isclose(a.credibility, b.credibility, equal_nan=True)),
        "other_abstention": share(lambda a, b: a.abstain != b.abstain),
        "largest_difference_of_an_embedding": furthest,
    }


def main() -> int:
    """Runs the comparison. Returns 0 where the target is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.parity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, help="a complete bundle")
    parser.add_argument("--data-dir", type=Path, help="where its data set lies, if no longer where the manifest says")
    add_device_flag(parser)
    add_precision_flag(parser)
    parser.add_argument("--batch", type=whole_number(1), default=256, help="images at once (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    restart_with_one_thread("bench.parity")
    where, found = measure(options.bundle, options.device, options.precision, data_dir=options.data_dir, batch=options.batch)
    target = Target("same label", found["same_label"], BOUND, at_least=True)
    rows = [
        ["images", f"{found['images']:,}"],
        ["same label", f"{found['same_label']:.3%}"],
        ["another credibility", f"{found['other_credibility']:.3%}"],
        ["abstains on one alone", f"{found['other_abstention']:.3%}"],
        ["largest difference of an embedding's number", f"{found['largest_difference_of_an_embedding']:.2g}"],
    ]
    show(f"{options.bundle}: the CPU's answers and those of {where}", ["", ""], rows, target)
    if options.json:
        write_json(options.json, "parity", {**found, "precision": options.precision}, target=target, device=options.device)
    return 0 if target.met else 1


if __name__ == "__main__":
    sys.exit(run_benchmark(main))
