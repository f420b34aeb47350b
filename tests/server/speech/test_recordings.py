"""Recordings through a real server: who speaks, what is refused, and how windows vote together."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import pytest

from holdfast.bundle.reader import Bundle
from holdfast.cli import main as holdfast_main
from holdfast.client import Client
from holdfast.client.__main__ import main as client_main
from holdfast.client.errors import ImageRefusedError
from holdfast.errors import HoldfastError
from holdfast.model.speech.recordings import decode_recording
from holdfast.protos.holdfast.admin.v1 import admin_pb2 as pb
from holdfast.protos.holdfast.admin.v1 import exemplar_pb2 as ex
from holdfast.protos.holdfast.v1 import holdfast_pb2, image_pb2, model_pb2
from tests.holdfast.model.speech.sounds import as_wav, voice
from tests.server.api.admin import OPERATOR, Operator, token_file
from tests.server.running import LoopThread, Served, refusal, start
from tests.server.speech.listening import SPEAKERS, STRANGER, said, wav, write_listening_bundle
from tests.server.tiny import png

Listen = Callable[..., Served]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_listening_bundle(tmp_path_factory.mktemp("listening") / "voices")


@pytest.fixture
def listen(bundle: Path, loop_thread: LoopThread) -> Iterator[Listen]:
    with ExitStack() as stack:
        yield lambda **settings: start(stack, loop_thread, bundle, **settings)


def audio(encoded: bytes) -> image_pb2.Image:
    return image_pb2.Image(audio=encoded)


def classify(server: Served, *images: image_pb2.Image, **wanted: float) -> holdfast_pb2.ClassifyResponse:
    return server.stub.Classify(holdfast_pb2.ClassifyRequest(images=images, **wanted))


def said_of(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    refused = refusal(call)
    return refused.code(), refused.details()


@pytest.mark.parametrize("settings", [{}, {"workers": 1}, {"decode_inline": 0.0}], ids=["one process", "worker", "decoder"])
def test_speakers_are_known_and_strangers_are_not(listen: Listen, settings: dict[str, float]) -> None:
    server = listen(**settings)
    spoken = [wav(pitch, 900 + number) for number, pitch in enumerate(SPEAKERS.values())]
    results = classify(server, *map(audio, spoken), audio(wav(STRANGER, 950))).results
    assert [result.answer.label.name for result in results[:3]] == list(SPEAKERS)
    assert [result.answer.abstain for result in results] == [False, False, False, True]
    assert results[3].answer.kth_neighbour_distance > max(result.answer.kth_neighbour_distance for result in results[:3])


def test_the_served_answer_is_the_librarys(listen: Listen, bundle: Path) -> None:
    recording = wav(SPEAKERS["low"], 7, seconds=0.9)
    expected = Bundle.open(bundle).classifier().classify(decode_recording(recording))
    with Client(listen().app.address) as client:
        answer = client.classify(recording, neighbours=3)
        np.testing.assert_allclose(client.embed([recording]), expected.embeddings, atol=1e-5)
        info = client.model_info()
    assert answer.index == expected.labels[0]
    assert answer.kth_distance == pytest.approx(expected.kth_distance[0], abs=1e-5)
    assert [each.id for each in answer.neighbours] == expected.neighbours.ids[0, :3].tolist()
    assert (info.input_kind, info.seconds_per_recording, info.certify_passes) == ("speech", 30.0, 0)


def test_windows_of_a_long_recording_vote_together(listen: Listen, bundle: Path) -> None:
    long = np.concatenate([said(SPEAKERS["middle"], 40, 3.0), said(SPEAKERS["high"], 41, 1.2)])
    windows = Bundle.open(bundle).classifier().classify(decode_recording(as_wav(long)))
    assert len(windows.labels) == 5
    assert len(set(windows.labels.tolist())) > 1
    with Client(listen().app.address) as client:
        answer = client.classify(as_wav(long), neighbours=5)
        (embedding,) = client.embed([as_wav(long)])
    np.testing.assert_allclose(answer.probabilities, windows.probabilities.mean(0), atol=1e-6)
    assert answer.index == windows.probabilities.mean(0).argmax()
    assert answer.kth_distance == pytest.approx(windows.kth_distance.mean(), abs=1e-5)
    assert answer.abstain == (2 * windows.abstain.sum() >= 5)
    own = np.where(windows.labels == answer.index, windows.credibility, 1 - windows.confidence)
    assert answer.credibility == pytest.approx(min(1, 2 * own.mean()))
    mean = windows.embeddings.mean(0)
    np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-5)
    similarities = [each.similarity for each in answer.neighbours]
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[0] == pytest.approx(windows.neighbours.similarities.max(), abs=1e-5)
    assert len({each.id for each in answer.neighbours}) == 5


def test_what_is_no_recording_fails_alone_and_names_its_field(listen: Listen) -> None:
    server, good = listen(audio_seconds=2.0, audio_bytes=200_000), audio(wav(SPEAKERS["high"], 3))
    bad = {
        "96000 samples": audio(as_wav(voice(0.2), 96_000)),
        "no sample": audio(as_wav(voice(0.0))),
        "is cut short": audio(wav(90.0, 1)[:-5]),
        "limit is 2 s": audio(as_wav(voice(2.1))),
        "limit is 200000": audio(as_wav(voice(1.9, 48_000), 48_000, bits=32)),
        "listens to recordings": image_pb2.Image(encoded=png(np.zeros((8, 8, 3), np.uint8))),
        "send encoded bytes, raw pixels or audio": image_pb2.Image(),
    }
    results = classify(server, good, *bad.values(), good).results
    assert results[0].answer.label.name == results[-1].answer.label.name == "high"
    for place, (reason, result) in enumerate(zip(bad, results[1:-1], strict=True), start=1):
        assert result.WhichOneof("outcome") == "error", reason
        assert result.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert reason in result.error.message
        assert f"images[{place}]." in result.error.message
    code, details = said_of(lambda: classify(server, bad["is cut short"]))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "images[0].audio" in details
    for sent in (as_wav(voice(0.2, 44_100), 44_100, bits=24, channels=2), as_wav(voice(0.2), bits=8)):
        assert classify(server, audio(sent)).results[0].HasField("answer")


def test_a_model_that_looks_refuses_what_is_to_be_heard(served: Served) -> None:
    with Client(served.app.address) as client:
        with pytest.raises(ImageRefusedError, match="looks at images"):
            client.classify(wav(90.0, 1))
        assert client.model_info().input_kind == "image"


def test_a_file_named_as_a_recording_is_sent_as_one_whatever_is_in_it(listen: Listen, served: Served, tmp_path: Path) -> None:
    (tmp_path / "cut.WAV").write_bytes(b"")
    with Client(listen().app.address) as client, pytest.raises(ImageRefusedError, match="no WAV file"):
        client.classify(tmp_path / "cut.WAV")
    with Client(served.app.address) as client, pytest.raises(ImageRefusedError, match="looks at images"):
        client.classify(tmp_path / "cut.WAV")


def test_noise_of_pixels_certifies_nothing_and_nobody_is_probed(listen: Listen) -> None:
    server = listen(certify_passes=1000, probe_rate=1.0)
    code, details = said_of(lambda: classify(server, audio(wav(90.0, 1)), certify=10, certify_sigma=0.25))
    assert "nothing of recordings" in details
    assert code is not grpc.StatusCode.INTERNAL
    info = server.stub.GetModelInfo(holdfast_pb2.GetModelInfoRequest())
    assert (info.input_kind, info.limits.certify_passes) == (model_pb2.INPUT_KIND_SPEECH, 0)
    assert info.limits.bytes_per_recording <= info.limits.message_bytes


def test_more_windows_than_there_is_room_for_are_refused_for_good(listen: Listen) -> None:
    server = listen(queue_images=4, max_images=4, caller_share=1.0)
    assert classify(server, audio(wav(90.0, 1, 3.9))).results[0].HasField("answer")
    code, details = said_of(lambda: classify(server, audio(wav(90.0, 1, 6.0))))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "windows" in details


def test_somebody_new_is_enrolled_by_recordings(listen: Listen, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = listen(admin_port=0, admin_token_file=token_file(tmp_path / "tokens"), store=tmp_path / "store", keep_images=True)
    operator = Operator(server.app.admin_address)
    new = [ex.NewExemplar(image=audio(wav(STRANGER, number)), label="new", source=f"{number}.wav") for number in range(6)]
    long = ex.NewExemplar(image=audio(wav(STRANGER, 9, 3.0)), label="new", source="long.wav")
    refused = refusal(lambda: operator.AddExemplars(pb.AddExemplarsRequest(exemplars=[*new, long], request_id="a")))
    assert "exemplars[6].image.audio" in str(refused)
    added = operator.AddExemplars(pb.AddExemplarsRequest(exemplars=new, request_id="b"))
    doubtful = [result.added.id for result in added.results if result.added.state == ex.EXEMPLAR_STATE_QUARANTINED]
    if doubtful:
        operator.ApproveExemplars(pb.ApproveExemplarsRequest(ids=doubtful, request_id="c"))
    (tmp_path / "voice.wav").write_bytes(wav(STRANGER, 77))
    assert client_main(["classify", str(tmp_path / "voice.wav"), "--address", server.app.address, "--json"]) == 0
    assert '"label": "new"' in capsys.readouterr().out
    with Client(server.app.address) as client:
        assert not client.classify(tmp_path / "voice.wav").abstain


def test_recordings_are_enrolled_window_by_window_and_what_is_too_long_is_named(
    listen: Listen, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_ADMIN_TOKEN", OPERATOR)
    tokens = token_file(tmp_path / "tokens")
    server = listen(admin_port=0, admin_token_file=tokens, store=tmp_path / "store", judge=False)
    folder = tmp_path / "voices" / "new"
    folder.mkdir(parents=True)
    (folder / "three.wav").write_bytes(wav(STRANGER, 1, 3.0))
    (folder / "long.wav").write_bytes(as_wav(np.zeros(601 * 8_000, np.float32), bits=8))
    (folder / "none.wav").write_bytes(b"")
    command = ["exemplars", "add", str(folder.parent), "--address", server.app.admin_address]
    assert holdfast_main([*command, "--all-or-nothing"]) == 2
    assert "601.0 s long" in capsys.readouterr().err
    names, read_bytes = Counter[str](), Path.read_bytes

    def counted(path: Path) -> bytes:
        names[path.name] += 1
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    assert holdfast_main([*command, "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["added"] == 3
    assert {Path(each["file"]).name for each in found["refused"]} == {"long.wav", "none.wav"}
    assert names["three.wav"] == 2  # for its header, and for its three windows


def test_what_keeps_images_is_not_for_a_model_that_listens(listen: Listen, tmp_path: Path) -> None:
    with pytest.raises(HoldfastError, match="listens to recordings"):
        listen(keep_share=0.5, spool=tmp_path / "spool")
