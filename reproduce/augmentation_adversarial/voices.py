"""Training voices from espeak-ng: variants of its synthesiser that read digits in several languages, as SPEAKER/*.wav.

A tool for making a training set; nothing that runs needs it. No recording of a person is in the set, and what an encoder learns
of such voices is less than of people.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np

from holdfast.console import Console, Progress
from holdfast.data.labelled import DataError

LANGUAGES = ("en", "de", "es", "fr", "it", "nl", "pl", "pt")
VARIANTS = (
    *("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6"),
    *("m7", "m8", "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Gene2"),
    *("Henrique", "Hugo", "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Storm", "adam", "anika"),
    *("antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward", "edward2", "grandma"),
    *("grandpa", "gustave", "iven", "iven2", "iven3", "john", "kaukovalta", "linda", "marcelo", "max", "michel"),
    *("miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph"),
    *("steph2", "zac"),
)
TAKES = 4
"""Of each digit, at another pace and pitch."""


def make_voices(directory: Path, voices: int, *, seed: int = 0) -> Path:
    """Let espeak-ng read the digits in so many voices; a voice whose folder is complete is kept.

    Returns:
        `directory`.

    Raises:
        DataError: espeak-ng is not there, or fails.

    """
    if (program := shutil.which("espeak-ng")) is None:
        raise DataError(
            "there is no espeak-ng to make training voices with: install it (apt-get install espeak-ng), or put folders"
            " SPEAKER/*.wav into DATA_DIR/voices"
        )
    if not 2 <= voices <= len(VARIANTS):
        raise DataError(f"2 to {len(VARIANTS)} voices can be made, not {voices}")
    chosen = np.random.default_rng(seed).permutation(len(VARIANTS))[:voices].tolist()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for place, variant in enumerate(progress.track(chosen, description="making voices")):
            language = LANGUAGES[place % len(LANGUAGES)]
            target = directory / f"{place:02d}-{language}-{VARIANTS[variant]}"
            if not target.is_dir():
                _speak(program, f"{language}+{VARIANTS[variant]}", target, np.random.default_rng([seed, place]))
    return directory


def _speak(program: str, voice: str, target: Path, random: np.random.Generator) -> None:
    """All takes of one voice, written aside and renamed when they are complete."""
    aside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    pitch, pace = int(random.integers(30, 70)), int(random.integers(130, 190))
    for digit in range(10):
        for take in range(TAKES):
            spoken = ["-p", str(pitch + int(random.integers(-6, 7))), "-s", str(pace + int(random.integers(-20, 21)))]
            file = aside / f"{digit}_{take}.wav"
            command = [program, "-v", voice, *spoken, "-w", str(file), str(digit)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode or not file.is_file():
                raise DataError(f"espeak-ng cannot speak as {voice}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    aside.rename(target)
