"""python -m holdfast.evaluation.speech BUNDLE --data-dir DIR: how well a bundle knows the speakers of its set, as a table."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from holdfast.bundle.reader import Bundle
from holdfast.console import Console
from holdfast.evaluation.speech.measure import measure_speakers
from holdfast.evaluation.speech.sets import test_recordings
from holdfast.evaluation.speech.tables import speakers_as_json, speakers_table
from holdfast.evaluation.speech.trials import TrialSize
from holdfast.exit_status import exit_status, explain_statuses
from holdfast.flags import whole_number

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
        listing, test = test_recordings(bundle.manifest, options.data_dir)
        measured = measure_speakers(bundle, listing, test, trials=TrialSize(items=options.items, pairs=options.pairs))
        if options.json:
            print(json.dumps(speakers_as_json(measured), indent=1))
        else:
            Console().print(speakers_table(measured, bundle.manifest.name))

    return exit_status(PROGRAM, run)


if __name__ == "__main__":
    sys.exit(main())
