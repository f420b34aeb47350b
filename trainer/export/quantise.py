"""`holdfast quantise`: a bundle whose encoder computes its convolutions in int8, on CPUs about half as expensive."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shlex import quote

import numpy as np

from holdfast.bundle.manifest import Manifest
from holdfast.bundle.reader import ENCODER, GRADIENT, WEIGHTS, Bundle
from holdfast.bundle.verification import inside
from holdfast.bundle.writer import BundleWriter
from holdfast.console import Console
from holdfast.data.recorded import load_recorded
from holdfast.errors import HoldfastError
from holdfast.exit_status import exit_status, explain_statuses
from holdfast.flags import whole_number
from holdfast.model.encoder.agreement import cosine_distance
from holdfast.model.encoder.onnx import OnnxEncoder
from holdfast.trainer.export.int8_graph import in_int8

MARK = ", convolutions in int8"
"""What the manifest says of such an encoder."""

ABOUT = """\
Make a bundle whose encoder computes its convolutions in int8. It takes about half of the CPU's time, and rounds: embeddings
move, and a few answers with them. So the new bundle has no index and no accuracy: holdfast index embeds the labelled set by
the rounded encoder, and holdfast evaluate attacks what is then served. Attacks take their gradient from gradient.onnx, which
stays in float32, since the gradient of a rounding is zero almost everywhere; candidates are judged by the rounded encoder.

For CPUs; a GPU has float16 (holdfast train --half).

examples:
  holdfast quantise runs/cifar10 runs/cifar10-int8
  holdfast index runs/cifar10-int8
  holdfast evaluate runs/cifar10-int8 --images 1000
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="holdfast quantise",
        description=ABOUT,
        epilog=explain_statuses(0, 1, 2, 130, 143),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="directory of a bundle, with or without its index")
    parser.add_argument("to", metavar="TO", type=Path, help="directory to make, or a bundle to replace")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where the encoder's own set lies, if not where the trainer found it"
    )
    parser.add_argument(
        "--images",
        type=whole_number(1),
        default=1000,
        metavar="N",
        help="training images that say how large activations are (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    return exit_status("holdfast quantise", lambda: print_quantised(options))


def print_quantised(options: argparse.Namespace) -> None:
    """Make the bundle, and say how far its embeddings have moved and what comes next."""
    console = Console()
    with console.status("rounding the convolutions to int8"):
        similarity = quantise(options.bundle, options.to, data_dir=options.data_dir, images=options.images)
    console.print(
        f"{options.to}: embeddings are within a cosine similarity of {similarity:.4f} (median) of {options.bundle}'s\n"
        f"next: holdfast index {quote(str(options.to))}"
    )


def quantise(directory: Path, to: Path, *, data_dir: Path | None = None, images: int = 1000) -> float:
    """Write the bundle in `directory` to `to`, its encoder in int8, without index, calibration and accuracy.

    Args:
        directory: a bundle, with or without its index.
        to: directory to make, or a bundle to replace.
        data_dir: where the encoder's own set lies, if not where the trainer found it.
        images: training images, drawn at random, that say how large activations are; as many of the set at most.

    Returns:
        The cosine similarity of an image's embedding to what it was: the median of other training images than these, or of
        these where there are no more.

    Raises:
        HoldfastError: a bundle that cannot be opened, a set that is not there or another one, an encoder without
            convolutions or in int8 already, or `to` is the bundle itself or holds something else.

    """
    if to.resolve() == directory.resolve():
        raise HoldfastError(f"{to} is the bundle itself; name another directory")
    bundle = Bundle.open_encoder(directory)
    if GRADIENT not in bundle.manifest.files:
        raise HoldfastError(f"{directory} has no {GRADIENT}, by which the new bundle would be attacked: export it again")
    splits = load_recorded(bundle.manifest, data_dir)
    if splits.sha256 != bundle.manifest.trained.data.sha256:
        raise HoldfastError(
            f"these are not the images that the encoder of {directory} was trained with: name them by --data-dir"
        )
    known = splits.learned_from.images
    drawn = known[np.random.default_rng(0).permutation(len(known))[: 2 * images]]
    model = in_int8(inside(directory, ENCODER), drawn[:images])
    writer = BundleWriter.create(to)
    writer.add(ENCODER, partial(Path.write_bytes, data=model.SerializeToString(deterministic=True)))
    for name in (GRADIENT, WEIGHTS):  # the gradient of an encoder that was exported in halves has its weights beside it
        if name in bundle.manifest.files:
            writer.add(name, partial(shutil.copyfile, inside(directory, name)))
    writer.commit(_without_index(bundle.manifest, to.name))
    others = drawn[images:] if len(drawn) > images else drawn
    rounded = OnnxEncoder(to / ENCODER)
    parts = [others[start : start + 100] for start in range(0, len(others), 100)]
    distances = [cosine_distance(rounded.embed(part), bundle.encoder.embed(part)) for part in parts]
    return float(1 - np.median(np.concatenate(distances)))


def _without_index(manifest: Manifest, name: str) -> Manifest:
    """Nothing of it was measured with the rounded encoder."""
    dropped = dict.fromkeys(("index", "calibration", "uncalibrated", "accuracy"))
    training = manifest.trained.model_copy(update={"encoder": manifest.trained.encoder + MARK})
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return manifest.model_copy(update={"name": name, "created": created, "training": training, **dropped})


if __name__ == "__main__":
    sys.exit(main())
