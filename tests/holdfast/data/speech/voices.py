"""Folders of synthetic voices for tests."""

from pathlib import Path

from tests.holdfast.model.speech.sounds import as_wav, voice

PITCHES = (100.0, 140.0, 190.0, 250.0, 80.0, 220.0)


def put_voices(folder: Path, speakers: int = 3, recordings: int = 10, seconds: float = 0.5) -> Path:
    """SPEAKER/N.wav, each speaker a pitch."""
    for speaker in range(speakers):
        (folder / f"speaker{speaker}").mkdir(parents=True)
        for number in range(recordings):
            samples = voice(seconds, pitch=PITCHES[speaker] * (1 + 0.01 * number), seed=100 * speaker + number)
            (folder / f"speaker{speaker}" / f"{number}.wav").write_bytes(as_wav(samples))
    return folder


def put_digits(folder: Path, speakers: int = 2, digits: int = 2, takes: int = 8) -> Path:
    """{digit}_{speaker}_{number}.wav, as free spoken digits are named."""
    folder.mkdir(parents=True, exist_ok=True)
    for speaker in range(speakers):
        for digit in range(digits):
            for number in range(takes):
                samples = voice(0.4, pitch=PITCHES[speaker] * (1 + 0.02 * digit), seed=1000 * speaker + 10 * number + digit)
                (folder / f"{digit}_speaker{speaker}_{number}.wav").write_bytes(as_wav(samples))
    return folder
