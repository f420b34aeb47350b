"""python -m holdfast.data.speech VOICES OUT: make a training set of sessions."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from holdfast.data.speech.bank import PROFILES, make_bank
from holdfast.data.speech.listing import list_digits, list_voices
from holdfast.exit_status import exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m holdfast.data.speech",
        description="Make a training set of sessions of a folder SPEAKER/*.wav, or of free spoken digits. What --data voices or"
        " fsdd hold out with seed 0 is in no session, so that the encoder can be indexed and tested with that set.",
        epilog="holdfast train fsdd --data sessions --data-dir OUT --encoder.image-size 64 trains on it.",
    )
    parser.add_argument("voices", type=Path, help="folder of SPEAKER/*.wav, or of {digit}_{speaker}_{number}.wav")
    parser.add_argument("out", type=Path, help="file to write, .npz")
    parser.add_argument("--sessions", type=int, default=7, help="of each voice (default: %(default)s)")
    parser.add_argument("--profiles", type=int, default=PROFILES, help="augmentations of each session (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    parser.add_argument(
        "--calibration", type=int, help="recordings held out beside the test part, as --data voices and fsdd hold them out"
    )
    options = parser.parse_args(arguments)

    def run() -> None:
        digits = next(options.voices.glob("[0-9]_*_*.wav"), None) is not None
        listing = list_digits(options.voices) if digits else list_voices(options.voices)
        train, _, _ = listing.split(calibration=options.calibration, seed=0)
        bank = make_bank(listing, sessions=options.sessions, profiles=options.profiles, seed=options.seed, rows=train)
        bank.save(options.out)
        print(f"{options.out}: {len(bank)} sessions of {len(bank.class_names)} voices")

    return exit_status("python -m holdfast.data.speech", run)


if __name__ == "__main__":
    sys.exit(main())
