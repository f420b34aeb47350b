"""holdfast evaluate, of a bundle that listens: speakers are identified and verified, and nobody is attacked."""

import time
from dataclasses import fields

from holdfast.bundle.reader import Bundle
from holdfast.console import Console
from holdfast.errors import HoldfastError
from holdfast.evaluation.cli.options import EvaluateConfig, FullOptions
from holdfast.evaluation.context import drawn
from holdfast.evaluation.report.writing import PAGE
from holdfast.evaluation.speech.measure import measure_speakers
from holdfast.evaluation.speech.report import speech_report, write_speech_report
from holdfast.evaluation.speech.sets import test_recordings
from holdfast.evaluation.speech.tables import speakers_table
from holdfast.exit_status import DONE

USABLE = ("bundle", "full", "data_dir", "images", "seed", "threads")
"""Of `EvaluateConfig`, what has a meaning for recordings."""


def measure_voices(config: EvaluateConfig, console: Console, command: str, begun: float) -> int:
    """Measure the bundle, print a table and, with --full, write its report; returns the exit status.

    Args:
        config: of the command line.
        console: where the table goes.
        command: as a person would type it again.
        begun: when this invocation was, by `time.monotonic`.

    Raises:
        HoldfastError: what is asked for is an attack, or the set cannot be used.

    """
    refuse_attacks(config)
    bundle = Bundle.open(config.bundle, threads=config.threads)
    listing, test = test_recordings(bundle.manifest, config.data_dir)
    test = test[drawn(len(test), config.images or None, config.seed)]
    with console.status(f"listening to {len(test):,} recordings in every condition"):
        measured = measure_speakers(bundle, listing, test)
    console.print(speakers_table(measured, bundle.manifest.name))
    if config.full:
        report = speech_report(measured, bundle, command, time.monotonic() - begun, config.seed)
        write_speech_report(config.bundle, report)
        console.print(f"report: {config.bundle / PAGE}", markup=False, highlight=False, soft_wrap=True)
    return DONE


def refuse_attacks(config: EvaluateConfig) -> None:
    """Raises HoldfastError where a flag asks for what there is not for recordings."""
    plain = EvaluateConfig(config.bundle)
    changed = [each.name for each in fields(config) if getattr(config, each.name) != getattr(plain, each.name)]
    unusable = [name for name in changed if name not in {*USABLE, "options"}]
    unusable += [name for name, value in vars(config.options).items() if value != getattr(FullOptions(), name)]
    if unusable:
        raise HoldfastError(
            f"{config.bundle} listens, and no attacker of sound is modelled: --{unusable[0].replace('_', '-')} has no meaning"
            " for it; holdfast evaluate BUNDLE --full measures who is known in which noise"
        )
