"""python -m reproduce.augmentation_adversarial: train the arms, measure them on speakers that they have not heard."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from holdfast import data
from holdfast.data import Splits
from holdfast.data.labelled import DataError
from holdfast.data.speech.bank import make_bank
from holdfast.data.speech.listing import list_voices
from holdfast.files import sha256_file, write_atomically
from reproduce.arms import Arm, TrainedArm, check_deadline, train_arm
from reproduce.augmentation_adversarial.arms import TITLES, arm_name, speech_arms
from reproduce.augmentation_adversarial.claims import Arms, findings
from reproduce.augmentation_adversarial.measuring import SpeechArmFigures, UnseenSpeakers, measure
from reproduce.augmentation_adversarial.photographs import (
    chosen,
    measure_flips,
    photograph_arms,
    photograph_findings,
    photographs_markdown,
)
from reproduce.augmentation_adversarial.scales import SCALES, SpeechScale
from reproduce.augmentation_adversarial.tables import arms_markdown, arms_table, draw
from reproduce.augmentation_adversarial.voices import make_voices
from reproduce.command import Invocation, run_reproduction
from reproduce.kept_results import Figures, KeptResults
from reproduce.verdicts import findings_markdown, findings_table

ABOUT = """Train encoders of speech with and without augmentation and the adversary of augmentation (arXiv 2007.12085), on
voices of espeak-ng or of DATA_DIR/voices/SPEAKER/*.wav, in simulated channels. Measure them on the speakers of free spoken
digits (DATA_DIR/fsdd, or DATA_DIR itself), which none has heard. Then the same objective on photographs, where
DATA_DIR/cifar-10-batches-bin is. Results so far are shown at the beginning and after each arm."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_reproduction("augmentation_adversarial", ABOUT, SCALES, run, arguments)


def run(call: Invocation[SpeechScale]) -> None:
    """Train and measure every arm, and say what they come to.

    Raises:
        DataError: the digits or the voices are not there.
        TimeUpError: the minutes are over.

    """
    if call.data_dir is None:
        raise DataError("name the folder that holds fsdd/, or fsdd itself, by --data-dir")
    digits = call.data_dir / "fsdd" if (call.data_dir / "fsdd").is_dir() else call.data_dir
    unseen = UnseenSpeakers(digits, call.scale)
    bank, splits = bank_of_sessions(call)
    arms = speech_arms(call.scale, bank, call.out)
    kept = KeptResults(call.out / "measured.json", {"scale": call.scale.name, "bank": splits.sha256})
    measured: Arms = {arm.name: SpeechArmFigures.from_json(kept.of(arm.name, dict)) for arm in arms if arm.name in kept}
    if measured:
        show(call, arms, measured, unseen.speakers)
    for number, arm in enumerate(arms, start=1):
        if arm.name in measured:
            continue
        call.console.rule(f"{number} of {len(arms)}: {arm.title}", align="left")
        trained = train_arm(arm, splits, call.console, deadline=call.deadline)
        check_deadline(call.deadline, f"measuring {arm.title}")
        figures = kept.of(arm.name, partial(_figures, trained, unseen, splits, call.scale))
        measured[arm.name] = SpeechArmFigures.from_json(figures)
        show(call, arms, measured, unseen.speakers)
    if (call.data_dir / "cifar-10-batches-bin").is_dir():
        run_photographs(call, kept)
    else:
        call.console.print(f"no photographs: {call.data_dir} holds no cifar-10-batches-bin/", markup=False, highlight=False)


def run_photographs(call: Invocation[SpeechScale], kept: KeptResults) -> None:
    """Both arms on CIFAR-10, and how often their answers change with the camera."""
    splits = data.load("cifar10", directory=call.data_dir, size=32)
    test = chosen(splits.test, call.scale.test_images)
    measured: dict[str, Figures] = {}
    for arm in photograph_arms(call.scale, call.out, call.data_dir):

        def flips(arm: Arm = arm) -> Figures:
            call.console.rule(arm.title, align="left")
            encoder = train_arm(arm, splits, call.console, deadline=call.deadline).encoder
            return measure_flips(encoder, splits.train, test)

        measured[arm.name] = kept.of(arm.name, flips)
    judged = photograph_findings(measured)
    text = photographs_markdown(measured) + "\n" + findings_markdown(judged)
    call.console.print(findings_table(judged))
    write_atomically(call.out / "photographs.md", text.encode())


def _figures(trained: TrainedArm, unseen: UnseenSpeakers, splits: Splits, scale: SpeechScale) -> Figures:
    return measure(trained.encoder, unseen, splits, scale, trained.seconds).to_json()


def bank_of_sessions(call: Invocation[SpeechScale]) -> tuple[Path, Splits]:
    """The training set, made of voices where it is not there yet."""
    path, given = call.out / "sessions.npz", (call.data_dir or call.out) / "voices"
    if not path.is_file():
        voices = given if given.is_dir() else make_voices(call.out / "voices", call.scale.voices)
        make_bank(list_voices(voices), sessions=call.scale.sessions).save(path)
    return path, data.load("sessions", directory=path, size=call.scale.encoder.image_size)


def show(call: Invocation[SpeechScale], arms: Sequence[Arm], measured: Arms, speakers: int) -> None:
    """Print what is known so far, and write table.md, figure.png and results.json."""
    seeds = [seed for seed in call.scale.seeds if all(arm_name(kind, seed) in measured for kind in TITLES)]
    judged = findings(measured, seeds, speakers) if seeds else []
    call.console.print(arms_table(arms, measured))
    if judged:
        call.console.print(findings_table(judged))
    text = arms_markdown(arms, measured) + "\n" + findings_markdown(judged)
    write_atomically(call.out / "table.md", text.encode())
    draw(call.out / "figure.png", arms, measured)
    result = {
        "command": call.command,
        "sessions_sha256": sha256_file(call.out / "sessions.npz"),
        "seconds": {name: round(figures.seconds, 1) for name, figures in measured.items()},
        "findings": [finding.described() for finding in judged],
    }
    write_atomically(call.out / "results.json", (json.dumps(result, indent=1) + "\n").encode())
