"""The options of `holdfast index` and `holdfast index merge`."""

import argparse
import os
from pathlib import Path
from typing import get_args

from holdfast.bundle.migrations import FLAT
from holdfast.data.sets import NAMES
from holdfast.data.streaming.training import MEMORY_GB
from holdfast.exit_status import explain_statuses
from holdfast.flags import number_in, share_or_count, whole_number
from holdfast.index_build.canary import IMAGES
from holdfast.index_build.options import LabelChoice, Treatment
from holdfast.model.credibility import COVERAGE
from holdfast.model.device_choice import DeviceChoice
from holdfast.model.preprocess import MAX_PIXELS
from holdfast.model.retrieval.approximate.choice import AUTO
from holdfast.model.retrieval.table import RETRIEVERS
from holdfast.model.vote import MOST_NEIGHBOURS

ABOUT = """\
Complete a bundle that holdfast train wrote, so that holdfast serve can serve it; or make a new bundle of its encoder and of
any other labelled set, without training.

Without --data: reads the labelled set that the encoder was trained with (the manifest names it, and its hash is checked),
embeds the training part through encoder.onnx, and writes the index and exemplars.npz (id, label, source, flags, digest).
Verifies the index against brute force, flags exemplars that disagree with their own neighbours (flagged.csv), calibrates
credibility on the part held out for it, and commits all of it to manifest.json at once.

With --data: the same of another set, in a new bundle beside the old one, which stays as it is. Classes may be others, and a
class may have two images. Images stream from disk. With --out and no --data: a new bundle of the exemplars that are there,
for other class names, another k, another kind of index.

If it is cut short, run it again: finished parts are kept until the end.

examples:
  holdfast index runs/digits
  holdfast index runs/cifar10 --data-dir /data/cifar10 --threads 4 --half
  holdfast index runs/cifar10 --harden 0.25 --harden-within linf:8/255 --choose-vote
  holdfast index runs/cifar10 --labels audited                        labels that their neighbours contradict, changed
  holdfast index runs/few --pseudo .95                                also of images without a label
  holdfast index runs/cifar10 --data photos/                          a new bundle runs/cifar10-photos
  holdfast index runs/cifar10 --data photos/ --merge --out runs/both  its own classes and those of photos/
  holdfast index runs/cifar10 --rename cat=pet --rename dog=pet --out runs/pets
  holdfast index runs/cifar10 --data big.csv --shard 3/8 --out work/3  one of eight shards, on any machine
  holdfast index merge work/* --out runs/big                           the bundle of all of them
"""

ABOUT_MERGE = """\
Make the bundle that the shards of a labelled set were embedded for, by holdfast index BUNDLE --data SET --shard I/N --out WORK.

All shards must be there, finished, of one set and one encoder. What comes out is what one run over the whole set makes, bit for
bit.
"""


def index_parser() -> argparse.ArgumentParser:
    """Of `holdfast index BUNDLE`."""
    parser = _parser("holdfast index", ABOUT)
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="directory that holds manifest.json and encoder.onnx")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where the encoder's own set, or a built-in one, lies; not where it was"
    )
    parser.add_argument(
        "--recalibrate",
        action="store_true",
        help="only calibrate credibility again, by the index that is there: on the images of calibration.npz, or where the"
        " bundle has none yet, on the calibration part of its labelled set",
    )
    parser.add_argument(
        "--memory",
        type=number_in(0, 1e6),
        default=MEMORY_GB,
        metavar="GB",
        help="what the decoded images of the encoder's own set may take; a larger one is read as it is embedded, as one of"
        " --data always is (default: %(default)s)",
    )
    parser.add_argument(
        "--pseudo",
        type=number_in(0, 1),
        metavar="P",
        help="make exemplars of training images without a label, too: of those that the classifier of the training gives a"
        " probability above P, for instance .95, and whose labelled neighbours say the same; they are marked (default: none)",
    )
    _add_computing(parser)
    _add_set(parser)
    _add_classes(parser)
    _add_index(parser)
    _add_correction(parser)
    _add_labels(parser)
    return parser


def merge_parser() -> argparse.ArgumentParser:
    """Of `holdfast index merge`."""
    parser = _parser("holdfast index merge", ABOUT_MERGE)
    parser.add_argument("works", metavar="WORK", type=Path, nargs="+", help="folder that holdfast index --shard wrote")
    parser.add_argument("--bundle", type=Path, metavar="BUNDLE", help="the old bundle, if no longer where the shards found it")
    parser.add_argument("--out", type=Path, metavar="NEW", required=True, help="directory of the new bundle")
    _add_computing(parser)
    _add_classes(parser)
    _add_index(parser)
    _add_correction(parser)
    _add_labels(parser)
    return parser


def shard_of(text: str) -> tuple[int, int]:
    """(i, n) of "i/n"."""
    number, slash, shards = text.partition("/")
    if not slash or not number.isdecimal() or not shards.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no shard: write I/N, for instance 3/8")
    return int(number), int(shards)


def _parser(program: str, about: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=program,
        description=about,
        epilog=explain_statuses(0, 1, 2, 130, 143),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_computing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch-size", type=whole_number(1), default=256, metavar="N", help="images embedded at once (default: %(default)s)"
    )
    parser.add_argument(
        "--threads",
        type=whole_number(1),
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="threads of ONNX Runtime (default: the cores this process may use, %(default)s)",
    )
    parser.add_argument(
        "--device",
        choices=get_args(DeviceChoice),
        default="cpu",
        help="where images are embedded, and attacked where that is asked for: cuda takes the GPU or ends, auto takes it if it"
        " can and says so; all else is done on the CPU (default: %(default)s)",
    )
    parser.add_argument(
        "--processes",
        type=whole_number(1),
        default=1,
        metavar="N",
        help="processes that read and embed images, and share --threads (default: %(default)s)",
    )
    parser.add_argument(
        "--launcher",
        choices=("local", "ray"),
        default="local",
        help="where these processes run: here, or as actors of Ray, in the cluster of RAY_ADDRESS if that is set"
        " (default: %(default)s)",
    )


def _add_set(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("another labelled set")
    group.add_argument(
        "--data",
        metavar="SET",
        help="a folder of class folders, a .csv or .parquet table of path, label[, split], .tar, .parquet or .arrow shards of"
        f" images, or one of {', '.join(NAMES)}",
    )
    group.add_argument(
        "--out", type=Path, metavar="NEW", help="directory of the new bundle (default: BUNDLE-SET, beside BUNDLE)"
    )
    group.add_argument(
        "--calibration",
        type=share_or_count,
        metavar="SHARE",
        help="images held out to calibrate credibility: a share below 1 of what is not kept for evaluation, or a number"
        " (default: a tenth, at most 1,000; what the set itself holds out stays so)",
    )
    group.add_argument(
        "--few-shot",
        action="store_true",
        help="for a few images a class: all become exemplars but what the set itself holds out (DIR/test/CLASS/*), and"
        " credibility is calibrated by leaving out each exemplar once",
    )
    group.add_argument("--seed", type=whole_number(0), default=0, help="of what is held out (default: %(default)s)")
    group.add_argument(
        "--skip-unreadable", action="store_true", help="leave out files that cannot be read as images, and say which"
    )
    group.add_argument(
        "--max-pixels",
        type=whole_number(1),
        default=MAX_PIXELS,
        metavar="N",
        help="most pixels of an image that is decoded, four times as many of a JPEG (default: %(default)s)",
    )
    group.add_argument(
        "--shard",
        type=shard_of,
        metavar="I/N",
        help="only embed the I-th of N shards of the set, into the folder --out; holdfast index merge makes the bundle",
    )


def _add_classes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("classes and votes of a new bundle")
    group.add_argument(
        "--merge",
        action="store_true",
        help="add to the exemplars that are there, classes united by name, instead of replacing; an image that is an exemplar"
        " already is left out",
    )
    group.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="rename a class; several that get one name become one class (may be repeated)",
    )
    group.add_argument(
        "--order", metavar="A,B,C", help='class names that come first, in this order; the others follow (a,"b,c" for commas)'
    )
    group.add_argument(
        "--k",
        type=whole_number(1, MOST_NEIGHBOURS),
        metavar="K",
        help="neighbours that vote (default: as before; of a smaller set, or where a class is small, fewer)",
    )


def _add_canary(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--canary",
        type=whole_number(0),
        default=IMAGES,
        metavar="N",
        help="put at most N images of the test part into the bundle, clean and attacked, with the answers that it gives: a"
        " server tries them before it serves the bundle. They are images of the set, and go wherever the bundle goes: 0 puts"
        " none in (default: %(default)s)",
    )


def _add_index(parser: argparse.ArgumentParser) -> None:
    _add_canary(parser)
    parser.add_argument(
        "--coverage",
        type=number_in(0, 1, above=True),
        metavar="SHARE",
        help="the least share of images to be answered; at the others the server abstains (default: what was asked of the"
        f" bundle before, else {COVERAGE})",
    )
    parser.add_argument(
        "--index",
        default=FLAT,
        metavar="KIND",
        help=f"the kind of index: {', '.join(sorted([*RETRIEVERS, AUTO]))}. flat searches exactly; auto takes the cheapest that"
        " answers 99.9 %% of the held-out images as flat does; milvus is asked for by its address, milvus://HOST:PORT?index=ivf,"
        " and keeps the exemplars in a collection of that server (default: %(default)s)",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="round embeddings to float16: half the file; similarities move by less than 0.0005",
    )
    parser.add_argument(
        "--harden",
        type=number_in(0, 1),
        default=0.0,
        metavar="SHARE",
        help="attack this share of the exemplars and put what comes out in their place, under their true labels: more robust,"
        " a little less accurate on clean images; minutes (default: none)",
    )
    parser.add_argument(
        "--harden-within",
        metavar="BALL",
        help="the ball that these are attacked within, for instance linf:8/255 (default: the bundle's threat model)",
    )
    parser.add_argument(
        "--choose-vote",
        action="store_true",
        help="choose the number of neighbours and the temperature on the calibration images: of the votes that the surrogate"
        " of attacks agrees with, the one of the best mean of clean and attacked accuracy; minutes, as images are attacked",
    )


def _add_correction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prior-correction",
        type=number_in(0, 1),
        metavar="GAMMA",
        help="divide each vote by the frequency of its class among the exemplars to this power, 0 to 1: rare classes are"
        " answered more often, common ones less (docs/tried.md; default: as the bundle's vote has it, 0 of a new one)",
    )


def _add_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        choices=get_args(LabelChoice),
        default="given",
        help="whose labels exemplars have: given, as the set has them; audited, where the plurality of the k neighbours doubts"
        " one; adapted, where the training does, by the targets.npz of a self-adaptive one. doubted.csv lists these"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--doubted",
        choices=get_args(Treatment),
        default="relabel",
        help="what becomes of doubted labels, audited or adapted: changed to what is believed, or dropped with their images"
        " (default: %(default)s)",
    )
