"""Sessions: recordings of a voice joined, as if recorded in one go, and pictures of them under many augmentations, made once.

    python -m holdfast.data.speech VOICES sessions.npz      a folder of SPEAKER/*.wav

A session is 8 recordings of a voice, one after the other, in one simulated channel, which both of its segments share as the
halves of a real recording would. Under each of 16 profiles, of which the first changes nothing, both segments are drawn: the
picture at [session, profile, segment]. Sessions and not pictures are divided among train, calibration and test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from holdfast.console import Console, Progress
from holdfast.data.labelled import DataError, LabelledImages, Splits
from holdfast.data.listing.listing import Rows
from holdfast.data.listing.parts import Part
from holdfast.data.speech.channels import Channel, Profile
from holdfast.data.speech.listing import RecordingListing
from holdfast.data.speech.loading import refuse_size, samples_of
from holdfast.errors import ImageError
from holdfast.files import replace_atomically
from holdfast.model.images.pixels import Pixels
from holdfast.model.npz import UNREADABLE, open_npz
from holdfast.model.speech.pictures import WINDOW, Samples, pictures

JOINED = 8
PROFILES = 16
SEGMENTS = 2
AUGMENTED = (
    "sessions of each voice in simulated channels of their own (a room, a microphone, a noise floor 20 to 35 dB down), as they"
    " are and again in other rooms (RT60 0.1 to 0.6 s) and in noise (white, pink, hum, babble) 0 to 20 dB down"
)
"""What is said of a training on them; see `Channel` and `Profile`."""

QUIET = 0.01
"""Of a recording's loudest 10 ms: what is quieter at its begin and end is cut off before it is joined."""

TEST_SESSIONS, CALIBRATION_SESSIONS = 5, 10
"""One session in so many is for the test part, and of the others one in so many for calibration."""


@dataclass(frozen=True, eq=False)
class SessionBank:
    """Pictures of sessions.

    Attributes:
        pictures: uint8 [N, profiles, SEGMENTS, 64, 64], grey; profile 0 changes nothing.
        labels: int64 [N], whose voice each is.
        class_names: one name per voice.

    """

    pictures: Pixels
    labels: Rows
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def save(self, path: Path) -> None:
        """Write it as .npz, atomically."""
        names = np.frombuffer("\0".join(self.class_names).encode(errors="surrogateescape"), np.uint8)
        with replace_atomically(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, pictures=self.pictures, labels=self.labels, class_names=names)

    @classmethod
    def load(cls, path: Path) -> "SessionBank":
        """Read it. Raises DataError where the file is none."""
        try:
            with open_npz(path) as held:
                names = held.array("class_names", np.uint8, None).tobytes().decode(errors="surrogateescape").split("\0")
                pictured = held.array("pictures", np.uint8, None, None, SEGMENTS, 64, 64)
                return cls(pictured, held.array("labels", np.int64, len(pictured)), tuple(names))
        except FileNotFoundError:
            raise DataError(f"there is no {path}: make it with python -m holdfast.data.speech VOICES {path}") from None
        except UNREADABLE as error:
            raise DataError(f"{path} is no bank of sessions: {error}") from None

    def flat(self, rows: Rows, part: str) -> LabelledImages:
        """All pictures of some sessions, in order: that of (session s, profile p, segment g) is number (s P + p) G + g."""
        grey = self.pictures[rows].reshape(-1, 64, 64)
        each = self.pictures.shape[1] * SEGMENTS
        sources = [f"{part}/{session}/{picture}" for session in rows.tolist() for picture in range(each)]
        return LabelledImages(
            np.repeat(grey[..., None], 3, axis=3), np.repeat(self.labels[rows], each), self.class_names, sources
        )


def make_bank(
    listing: RecordingListing,
    *,
    sessions: int,
    profiles: int = PROFILES,
    seed: int = 0,
    rows: Rows | None = None,
    quiet: bool = False,
) -> SessionBank:
    """Join the training recordings of each voice to sessions, and draw pictures of them.

    Args:
        listing: of recordings.
        rows: which of them, int64 [n]; by default all of the training part.
        sessions: of each voice; a recording may be in several.
        profiles: augmentations of each session, of which the first changes nothing.
        seed: of everything that is drawn.
        quiet: no progress bar.

    Raises:
        DataError: a file is no recording, or a voice has fewer than two recordings.

    """
    if min(sessions, profiles) < 1:
        raise DataError(f"a bank has at least one session of each voice and one profile, not {sessions} and {profiles}")
    rows = np.flatnonzero(listing.parts == Part.TRAIN) if rows is None else rows
    spoken, labels = [_trimmed(listing, row) for row in rows.tolist()], listing.labels[rows]
    clean: list[tuple[int, Samples]] = []
    for label in range(len(listing.class_names)):
        own = [each for each, of in zip(spoken, labels.tolist(), strict=True) if of == label]
        if len(own) < 2:
            raise DataError(f"{listing.class_names[label]} has {len(own)} recordings to learn from; at least 2 are needed")
        clean += [(label, _joined(own, np.random.default_rng([seed, label, number]))) for number in range(sessions)]
    pictured = np.zeros((len(clean), profiles, SEGMENTS, 64, 64), np.uint8)
    with Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress:
        for place, (label, samples) in enumerate(progress.track(clean, description="drawing sessions")):
            others = [other for of, other in clean if of != label]
            pictured[place] = _pictured(samples, others, profiles, np.random.default_rng([seed, 1, place]))
    return SessionBank(pictured, np.array([label for label, _ in clean], np.int64), listing.class_names)


def _trimmed(listing: RecordingListing, row: int) -> Samples:
    try:
        samples = samples_of(listing.root / listing.names[row])
    except (ImageError, OSError) as error:
        raise DataError(f"{listing.names[row]}: {error}") from None
    blocks = np.abs(samples[: len(samples) // 80 * 80].reshape(-1, 80)).max(axis=1, initial=0)
    loud = np.flatnonzero(blocks > QUIET * max(float(blocks.max(initial=0)), 1e-9))
    return samples[80 * loud[0] : 80 * (loud[-1] + 1)] if len(loud) else samples


def _joined(own: Sequence[Samples], random: np.random.Generator) -> Samples:
    """JOINED recordings, or as many as two segments need, each of the same loudness, with a tenth of a second between two."""
    pause = np.zeros(800, np.float32)
    parts: list[Samples] = []
    while len(parts) < 2 * JOINED or sum(map(len, parts)) < SEGMENTS * WINDOW:
        for place in random.permutation(len(own))[:JOINED].tolist():
            one = own[place]
            parts += [one * np.float32(0.1 / max(float(np.sqrt(np.mean(np.square(one)))), 1e-6)), pause]
    return np.concatenate(parts)


def _pictured(samples: Samples, others: Sequence[Samples], profiles: int, random: np.random.Generator) -> Pixels:
    """One session under each profile: uint8 [profiles, SEGMENTS, 64, 64]."""
    recorded = Channel.drawn(random).apply(samples)
    half = len(recorded) // SEGMENTS
    starts = [segment * half + int(random.integers(half - WINDOW + 1)) for segment in range(SEGMENTS)]
    found = np.zeros((profiles, SEGMENTS, 64, 64), np.uint8)
    for profile in range(profiles):
        heard = recorded if profile == 0 else Profile.drawn(random).apply(recorded, random, others)
        for segment, start in enumerate(starts):
            found[profile, segment] = pictures(heard[start : start + WINDOW])[0, :, :, 0]
    return found


def read_sessions(directory: Path | None, size: int, *, seed: int, calibration: int | None, skip_unreadable: bool) -> Splits:
    """A bank as a labelled set, whose pictures stay together by session and in order. `seed` draws who is held out.

    Raises:
        DataError: the file is no bank, or has too few sessions.

    """
    del skip_unreadable  # there are no files of others in it
    refuse_size(size)
    if directory is None:
        raise DataError("the data set 'sessions' needs --data-dir with a file of python -m holdfast.data.speech")
    bank = SessionBank.load(directory)
    random = np.random.default_rng(seed)
    order = random.permutation(len(bank))
    test = len(bank) // TEST_SESSIONS
    held = (len(bank) - test) // CALIBRATION_SESSIONS if calibration is None else calibration
    if len(bank) - test - held < 2:
        raise DataError(f"{directory}: {len(bank)} sessions are too few to hold out {held}")
    parts = [np.sort(each) for each in np.split(order, [test, test + held])]
    named = zip(("train", "calibration", "test"), (parts[2], parts[1], parts[0]), strict=True)
    train, calibrating, testing = (bank.flat(rows, name) for name, rows in named)
    note = f"{directory}: {len(bank.class_names)} voices, {len(bank)} sessions, {bank.pictures.shape[1]} profiles"
    return Splits(train, calibrating, testing, drawn=held, notes=(note,))
