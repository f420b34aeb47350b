"""python -m holdfast.evaluation.speech BUNDLE --data-dir DIR: how well a bundle knows the speakers of its set."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from holdfast.bundle.reader import Bundle
from holdfast.console import Console
from holdfast.data.speech.listing import list_digits, list_voices
from holdfast.evaluation.speech.measure import SpeechMeasures, measure_speakers
from holdfast.evaluation.speech.trials import TrialSize
from holdfast.exit_status import exit_status, explain_statuses
from holdfast.flags import whole_number
from holdfast.intervals import Rate

PROGRAM = "python -m holdfast.evaluation.speech"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Identify the test recordings of a bundle's set, clean, in babble and in rooms; verify speakers across"
        " simulated channels; and see who is let in without being enrolled.",
        epilog=explain_statuses(0, 1, 2, 130, 143),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True, help="where the set lies: free spoken digits, or SPEAKER/*.wav")
    parser.add_argument("--pairs", type=whole_number(1), default=TrialSize().pairs, help="trials of each kind (%(default)s)")
    parser.add_argument(
        "--items", type=whole_number(2), default=TrialSize().items, help="items of each speaker in trials (%(default)s)"
    )
    parser.add_argument("--threads", type=whole_number(1), default=1, help="of ONNX Runtime (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)

    def run() -> None:
        bundle = Bundle.open(options.bundle, threads=options.threads)
        index, training = bundle.manifest.index, bundle.manifest.training.data
        indexed = index.data if index is not None else None
        name = training.name if indexed is None else indexed.data
        seed, calibration = (training.seed, training.calibration) if indexed is None else (indexed.seed, indexed.calibration)
        nested = options.data_dir / "fsdd"
        listing = (
            list_digits(nested if nested.is_dir() else options.data_dir) if name == "fsdd" else list_voices(options.data_dir)
        )
        _, _, test = listing.split(calibration=calibration, seed=seed)
        measured = measure_speakers(bundle, listing, test, trials=TrialSize(items=options.items, pairs=options.pairs))
        if options.json:
            print(json.dumps(as_json(measured), indent=1))
        else:
            Console().print(table(measured, bundle.manifest.name))

    return exit_status(PROGRAM, run)


def table(measured: SpeechMeasures, name: str) -> Table:
    """For the terminal: a row for each condition."""
    shown = Table(title=f"{name}: speakers of the test part", title_justify="left")
    for place, heading in enumerate(("condition", "identified", "answered", "another label than clean", "EER across channels")):
        shown.add_column(heading, justify="right" if place else "left")
    for condition, rate in measured.identified.items():
        error = measured.equal_error_rates.get(condition)
        flips = measured.flips.get(condition)
        cells = (str(measured.answered[condition]), "" if flips is None else str(flips))
        shown.add_row(condition, str(rate), *cells, "" if error is None else f"{100 * error:.1f} %")
    if measured.let_in is not None:
        shown.caption = f"let in though not enrolled: {measured.let_in}"
    return shown


def as_json(measured: SpeechMeasures) -> dict[str, object]:
    """For a program: rates with their 95 % Wilson intervals."""

    def rate(found: Rate) -> dict[str, object]:
        return {"rate": found.value, "interval": found.interval, "recordings": found.trials}

    return {
        "identified": {name: rate(found) for name, found in measured.identified.items()},
        "answered": {name: rate(found) for name, found in measured.answered.items()},
        "flips": {name: rate(found) for name, found in measured.flips.items()},
        "equal_error_rates": measured.equal_error_rates,
        "trials": measured.trials,
        "let_in": None if measured.let_in is None else rate(measured.let_in),
    }


if __name__ == "__main__":
    sys.exit(main())
