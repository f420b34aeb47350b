"""Recordings that are to be enrolled: cut to windows, named, and told from images."""

from pathlib import Path

import numpy as np
from PIL import Image

from holdfast.client.admin.files import batches_of, files_of
from holdfast.client.messages import CallLimits, to_image
from holdfast.model.speech.recordings import decode_recording
from tests.holdfast.model.speech.sounds import as_wav, voice


def test_a_long_recording_is_added_in_windows_and_a_short_one_as_it_is(tmp_path: Path) -> None:
    for speaker, seconds in (("ann", 0.7), ("bob", 2.5)):
        (tmp_path / speaker).mkdir()
        (tmp_path / speaker / "a.wav").write_bytes(as_wav(voice(seconds, 16_000), 16_000))
    (tmp_path / "bob" / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "bob" / "notes.txt").write_text("no recording")
    found = files_of([tmp_path], None).files
    name = tmp_path.name
    assert [(file.label, file.source) for file in found] == [
        ("ann", f"{name}/ann/a.wav"),
        ("bob", f"{name}/bob/a.wav#0.00"),
        ("bob", f"{name}/bob/a.wav#1.03"),
        ("bob", f"{name}/bob/a.wav#1.47"),
        ("bob", f"{name}/bob/broken.wav"),
    ]
    (batch,) = batches_of(found, CallLimits())
    assert [len(decode_recording(encoded)) for encoded in batch.images[:4]] == [1, 1, 1, 1]
    assert batch.images[4] == b"RIFF"
    one = files_of([tmp_path / "bob" / "a.wav"], "robert").files
    assert [(file.label, file.source) for file in one][:1] == [("robert", "bob/a.wav#0.00")]
    assert len(one) == 3


def test_what_is_heard_is_told_from_what_is_seen(tmp_path: Path) -> None:
    recording, picture = as_wav(voice(0.2)), tmp_path / "picture.webp"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(picture)
    assert to_image(recording).audio == recording
    assert to_image(picture).encoded == picture.read_bytes()
    (tmp_path / "voice").write_bytes(recording)
    assert to_image(tmp_path / "voice").WhichOneof("source") == "audio"
    assert to_image(b"RIFX" + recording[4:]).WhichOneof("source") == "audio"
