"""`holdfast import MODEL --out BUNDLE`: the command line."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from rich.table import Table

from holdfast.bundle.threat_model import ThreatModel, ball
from holdfast.console import Console, property_table
from holdfast.errors import HoldfastError
from holdfast.exit_status import exit_status, explain_statuses
from holdfast.flags import whole_number
from holdfast.importing.encoder import EncoderOptions, ImportedEncoder, read_encoder
from holdfast.importing.preprocessing import InputOptions, Triple, shown_sizes
from holdfast.model.images.fitting import FILTERS
from holdfast.model.preprocess import InputContract
from holdfast.trainer.export.parity import Parity
from holdfast.trainer.importing.imported import ImportOptions, ImportParity, write_imported

ABOUT = """\
Make a bundle of an image encoder that somebody else trained. Of an ONNX file of one input, size, layout and type of the input
are read from the file; how pixels are scaled, most files do not say. A model of Hugging Face's transformers is a directory that
save_pretrained wrote, or ORGANISATION/NAME in the local cache: its own processor says how pictures are resized and scaled, and
what it pools is the embedding. Nothing is downloaded, and pickles are not loaded. Preprocessing becomes a part of the encoder.
The result is held against the model as it came on 100 images.

The encoder was not hardened, and the bundle has no index: holdfast index BUNDLE --data DIR makes one of labelled images.

examples:
  holdfast import vit.onnx --out runs/vit --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --pool cls
  holdfast import caffe.onnx --out runs/caffe --range 255 --mean 104,117,123 --channels bgr
  holdfast import net.onnx --out runs/net --mean 0 --size 224 --output features --data photos/
  holdfast import models/clip-vit-base-patch32 --out runs/clip
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    options = import_parser().parse_args(typed)
    command = shlex.join(["holdfast", "import", *typed])
    return exit_status("holdfast import", lambda: run(options, command))


def import_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="holdfast import",
        description=ABOUT,
        epilog=explain_statuses(0, 1, 2, 130, 143),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", type=Path, help="an ONNX file with its weights, or a model of transformers")
    add("--out", metavar="BUNDLE", type=Path, required=True, help="directory to make, or a bundle to replace")
    group = parser.add_argument_group("the input, where the file does not say it")
    add = group.add_argument
    add("--size", type=_size, metavar="SIDE|HxW", help="height and width to serve, of a model that takes any")
    add("--layout", choices=("nchw", "nhwc"), help="where the colours are")
    add("--channels", choices=("rgb", "bgr"), help="their order (default: rgb); mean and std follow it")
    add("--range", type=int, choices=(1, 255), help="what white is before mean and std (default: 1)")
    add("--mean", type=_triple, metavar="M|R,G,B", help="taken off each channel; 0 where the graph does it itself")
    add("--std", type=_std, metavar="S|R,G,B", help="by which each channel is then divided (default: 1)")
    add("--resample", choices=tuple(FILTERS), help="how pictures of other sizes are resized (default: bilinear)")
    add("--crop", type=whole_number(1), metavar="SIDE", help=CROP)
    group = parser.add_argument_group("the embedding")
    add = group.add_argument
    add("--output", metavar="NAME", help="an output or any value of the graph (default: its only output)")
    add("--pool", choices=("cls", "mean", "flat"), help="the first token, the mean of tokens or maps, or all numbers in a row")
    add("--half", action="store_true", help="store weights as float16, in a quarter of the bytes (see holdfast train)")
    group = parser.add_argument_group("checks")
    add = group.add_argument
    add("--data", metavar="DIR", help="a labelled set: up to 50 of its images are compared on as well as random ones")
    add("--data-dir", metavar="DIR", type=Path, help="where a built-in set lies")
    add("--within", type=_ball, default=ThreatModel("linf", 4 / 255), metavar="BALL", help=WITHIN)
    return parser


CROP = "resize the shorter side to SIDE and crop the middle (default: resize pictures as they are, and squeeze long ones)"

WITHIN = "what holdfast evaluate and a server's probes will attack it within; it was trained for none (default: linf:4/255)"


def run(options: argparse.Namespace, command: str) -> None:
    """Import the model, and say what was found and what comes next."""
    console = Console()
    given = InputOptions(
        options.size,
        options.layout,
        options.channels,
        options.range,
        options.mean,
        options.std,
        options.resample,
        options.crop,
    )
    how = ImportOptions(half=options.half, data=options.data, data_dir=options.data_dir, threat=options.within, command=command)
    with console.status("reading the model") as status:
        imported = read_encoder(options.model, EncoderOptions(input=given, output=options.output, pool=options.pool))
        parity, agreement = write_imported(imported, options.out, how, status.update)
    console.print(table(imported, parity, agreement, options.out))
    if imported.features is not None:
        console.print(
            f"note: {imported.output} looks like scores of classes; what goes into the last layer often tells images apart"
            f" better, --output {quote(imported.features)}"
        )
    if parity.untraced:
        console.print(
            f"note: there is no gradient.onnx: {parity.untraced}. The bundle can be indexed and served; a server does not probe"
            " it, and white-box attacks of holdfast evaluate are off"
        )
    out = quote(str(options.out))
    console.print(f"next: holdfast index {out} --data DIR --out {out}-indexed")


def table(imported: ImportedEncoder, parity: Parity, agreement: ImportParity, out: Path) -> Table:
    """What was found and made, for a person."""
    source, prepared = imported.source, imported.preprocessing
    shown = property_table(str(out))
    shown.add_row("model", f"{source.path.name}, sha256 {source.sha256[:16]}")
    shown.add_row("input", f"{source.input} {source.dtype} {shown_sizes(source.shape)}, {prepared.layout}, {prepared.channels}")
    shown.add_row("images", _fitted(prepared.contract))
    pixels = "pixels" if prepared.range == 1 else f"pixels x {prepared.range}"
    shown.add_row("scaled", f"({pixels} - {_shown(prepared.mean)}) / {_shown(prepared.std)}")
    how = "" if imported.pool == "none" else f", {imported.pool}"
    shown.add_row("embedding", f"{imported.output}{how}")
    parameters = sum(each.numel() for each in imported.encoder.parameters())
    shown.add_row("parameters", f"{parameters:,}")
    real = f", {agreement.real} of them real" if agreement.real else ", all of them random"
    shown.add_row(
        "against the model",
        f"largest difference {agreement.largest:.1e} on {agreement.images} images{real} ({agreement.allowed:.0e} is allowed)",
    )
    if agreement.processor is not None:
        shown.add_row("against its processor", str(agreement.processor))
    elif imported.tower is not None:
        shown.add_row("against its processor", f"not compared: {imported.tower[1].lacking}")
    shown.add_row("against torch", str(parity))
    return shown


def _fitted(contract: InputContract) -> str:
    height, width = contract.size
    how = "resized as they are, without a crop"
    if contract.shortest is not None:
        how = f"the middle of those whose shorter side is resized to {contract.shortest}"
    return f"{height} x {width}, {how}, {contract.resample}"


def _shown(values: Triple) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "(" + ", ".join(f"{each:g}" for each in values) + ")"


def _triple(typed: str) -> Triple:
    try:
        numbers = [float(each) for each in typed.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not all(abs(each) < 1e6 for each in numbers):
        raise argparse.ArgumentTypeError(f"must be one number or three, such as 0.485,0.456,0.406, not {typed}")
    return numbers[0], numbers[1], numbers[2]


def _std(typed: str) -> Triple:
    found = _triple(typed)
    if min(found) <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {typed}")
    return found


def _size(typed: str) -> tuple[int, int]:
    height, _, width = typed.lower().partition("x")
    try:
        found = int(height), int(width or height)
    except ValueError:
        found = 0, 0
    if not (1 <= found[0] <= 4096 and 1 <= found[1] <= 4096):
        raise argparse.ArgumentTypeError(f"must be one side such as 224, or height x width such as 224x320, not {typed}")
    return found


def _ball(typed: str) -> ThreatModel:
    try:
        return ball(typed)
    except HoldfastError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
