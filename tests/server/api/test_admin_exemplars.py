"""Exemplars changed by an operator, through a real server: what is answered next, and what bad input gets."""

import io
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from holdfast.bundle.exemplars import Flag
from holdfast.protos.holdfast.admin.v1 import admin_pb2 as pb
from holdfast.protos.holdfast.admin.v1 import exemplar_pb2 as ex
from holdfast.protos.holdfast.v1 import holdfast_pb2, image_pb2
from tests.server.api.admin import Operator, retry_after, token_file, violations
from tests.server.marked import MARKS, with_marks
from tests.server.running import LoopThread, Served, refusal, start
from tests.server.tiny import SIDE, coloured, png, raw

SERVED, QUARANTINED, DELETED = ex.EXEMPLAR_STATE_SERVED, ex.EXEMPLAR_STATE_QUARANTINED, ex.EXEMPLAR_STATE_DELETED
VIOLET = np.array([120, 0, 160], np.int16)


@pytest.fixture(params=[0, 2], ids=["one process", "two workers"])
def server(request: Any, tiny_bundle: Path, loop_thread: LoopThread, tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        yield start_with_store(stack, tiny_bundle, loop_thread, tmp_path, workers=request.param)


@pytest.fixture
def single(tiny_bundle: Path, loop_thread: LoopThread, tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        yield start_with_store(stack, tiny_bundle, loop_thread, tmp_path)


def start_with_store(stack: ExitStack, bundle: Path, loop: LoopThread, scratch: Path, **settings: Any) -> Served:
    tokens = token_file(scratch / "tokens")
    defaults = {"admin_port": 0, "admin_token_file": tokens, "store": scratch / "store", "keep_images": True}
    return start(stack, loop, bundle, **(defaults | settings))


def operator(server: Served) -> Operator:
    return Operator(server.app.admin_address)


def violet(count: int, seed: int = 0) -> Any:
    """Images of a colour that no class of the bundle has."""
    noise = np.random.default_rng(seed).integers(-20, 21, (count, SIDE, SIDE, 3))
    return np.clip(VIOLET + noise, 0, 255).astype(np.uint8)


def new(images: Any, label: str, source: str = "camera/1") -> list[ex.NewExemplar]:
    return [ex.NewExemplar(image=raw(image), label=label, source=f"{source}/{n}") for n, image in enumerate(images)]


def add(server: Served, exemplars: Any, request_id: str = "one", **more: Any) -> Any:
    return operator(server).AddExemplars(pb.AddExemplarsRequest(exemplars=exemplars, request_id=request_id, **more))


def answer(server: Served, image: Any) -> str:
    reply = server.stub.Classify(holdfast_pb2.ClassifyRequest(images=[raw(image)]))
    return str(reply.results[0].answer.label.name)


def ids_of(reply: Any) -> list[int]:
    return [result.added.id for result in reply.results]


def test_a_class_that_is_added_is_answered_from_the_next_call_on(server: Served) -> None:
    asked = violet(4, seed=9)
    assert {answer(server, image) for image in asked} <= {"red", "green", "blue"}
    reply = add(server, new(violet(6), "violet"))
    assert [r.added.state for r in reply.results] == [SERVED] * 6
    for image in asked:
        assert answer(server, image) == "violet"
    info = server.stub.GetModelInfo(holdfast_pb2.GetModelInfoRequest())
    assert info.exemplars == 66
    labels = operator(server).ListLabels(pb.ListLabelsRequest()).labels
    assert [(each.index, each.name, each.exemplars) for each in labels][-1] == (3, "violet", 6)
    status = operator(server).GetStatus(pb.GetStatusRequest())
    assert (status.exemplars, status.classes, status.keeps_store, status.sequence) == (66, 4, True, reply.sequence)


def test_a_picture_that_the_disk_has_changed_costs_its_own_call_alone(
    tiny_bundle: Path, loop_thread: LoopThread, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        server = start_with_store(stack, tiny_bundle, loop_thread, tmp_path)
        ids = [each.added.id for each in add(server, new(violet(3), "violet"), "one").results]
        add(server, new(violet(1, seed=5), "violet"), "two")
    with closing(sqlite3.connect(tmp_path / "store" / "journal.sqlite")) as journal, journal:
        journal.execute("UPDATE images SET thumbnail = ? WHERE id = ?", (b"another picture", ids[1]))
        journal.execute("UPDATE changes SET author = 'another' WHERE request_id = 'two'")
        journal.execute("UPDATE changes SET ids = '[1]' WHERE request_id = 'one'")
    with ExitStack() as stack:
        server = start_with_store(stack, tiny_bundle, loop_thread, tmp_path)
        assert operator(server).GetExemplar(pb.GetExemplarRequest(id=ids[0])).thumbnail
        for call, named in (
            (lambda: operator(server).GetExemplar(pb.GetExemplarRequest(id=ids[1])), f"exemplar {ids[1]}"),
            (lambda: list(operator(server).ExportExemplars(pb.ExportExemplarsRequest(label="violet"))), f"exemplar {ids[1]}"),
            (lambda: add(server, new(violet(3), "violet"), "one"), "change 1"),  # no receipt of what was not asked for
        ):
            error = refusal(call)
            assert error.code() is grpc.StatusCode.DATA_LOSS
            assert named in (error.details() or "")
        exported: list[pb.ExportExemplarsResponse] = []
        with suppress(grpc.RpcError):
            for each in operator(server).ExportExemplars(pb.ExportExemplarsRequest(label="violet")):
                exported.append(each)  # noqa: PERF402 - extend would lose them all
        assert [bool(each.thumbnail) for each in exported] == [each.exemplar.id != ids[1] for each in exported]
        assert len(exported) == 4
        assert answer(server, violet(1, seed=9)[0]) == "violet"
        assert operator(server).GetStatus(pb.GetStatusRequest()).exemplars == 64


def test_relabelled_and_deleted_exemplars_vote_otherwise_at_once(server: Served) -> None:
    add(server, new(violet(6), "violet"))
    ids = [e.id for e in operator(server).ListExemplars(pb.ListExemplarsRequest(label="violet")).exemplars]
    (asked,) = violet(1, seed=9)
    updates = [ex.ExemplarUpdate(id=number, label="purple") for number in ids]
    reply = operator(server).UpdateExemplars(pb.UpdateExemplarsRequest(updates=updates, request_id="two"))
    held = [number for number, state in zip(ids, reply.states, strict=True) if state == QUARANTINED]
    if held:
        operator(server).ApproveExemplars(pb.ApproveExemplarsRequest(ids=held, request_id="three"))
    assert answer(server, asked) == "purple"
    operator(server).DeleteExemplars(pb.DeleteExemplarsRequest(ids=ids, request_id="four"))
    assert answer(server, asked) in {"red", "green", "blue"}
    gone = operator(server).ListExemplars(pb.ListExemplarsRequest(state=DELETED)).exemplars
    assert [e.id for e in gone] == ids
    assert {e.author for e in gone} == {"olga"}


def test_the_same_request_id_changes_nothing_again(server: Served) -> None:
    first = add(server, new(violet(3), "violet"))
    again = add(server, new(violet(3), "violet"))
    assert again.already_applied
    assert not first.already_applied
    assert (again.sequence, ids_of(again)) == (first.sequence, ids_of(first))
    assert operator(server).GetStatus(pb.GetStatusRequest()).exemplars == 63
    error = refusal(lambda: add(server, new(violet(3, seed=5), "violet")))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "request id" in error.details()


def test_what_is_doubtful_waits_for_approval_and_is_never_lost(single: Served) -> None:
    reds = coloured(0, 2, seed=500)
    reply = add(single, new(reds, "blue"))
    assert [r.added.state for r in reply.results] == [QUARANTINED] * 2
    assert all("red" in r.added.reason for r in reply.results)
    first, second = ids_of(reply)
    listed = operator(single).ListExemplars(pb.ListExemplarsRequest(state=QUARANTINED)).exemplars
    assert [(e.id, e.label, e.author) for e in listed] == [(first, "blue", "olga"), (second, "blue", "olga")]
    assert operator(single).GetStatus(pb.GetStatusRequest()).quarantined == 2
    assert operator(single).GetStatus(pb.GetStatusRequest()).exemplars == 60
    operator(single).ApproveExemplars(pb.ApproveExemplarsRequest(ids=[first], request_id="two"))
    operator(single).DropExemplars(pb.DropExemplarsRequest(ids=[second], request_id="three"))
    status = operator(single).GetStatus(pb.GetStatusRequest())
    assert (status.exemplars, status.quarantined) == (61, 0)
    after = [operator(single).GetExemplar(pb.GetExemplarRequest(id=n)).exemplar for n in (first, second)]
    assert [each.state for each in after] == [SERVED, DELETED]
    assert [each.reason for each in after] == [r.added.reason for r in reply.results]  # why they were in quarantine stays
    for call, request in (("ApproveExemplars", pb.ApproveExemplarsRequest), ("DropExemplars", pb.DropExemplarsRequest)):
        error = refusal(
            lambda call=call, request=request: getattr(operator(single), call)(request(ids=[first], request_id=call))
        )
        assert error.code() is grpc.StatusCode.NOT_FOUND


def test_without_a_judge_everything_votes(tiny_bundle: Path, loop_thread: LoopThread, tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = start_with_store(stack, tiny_bundle, loop_thread, tmp_path, judge=False)
        reply = add(server, new(coloured(0, 2, seed=500), "blue"))
        assert [r.added.state for r in reply.results] == [SERVED] * 2


def test_rows_that_would_change_recent_answers_wait(single: Served) -> None:
    asked = coloured(0, 40, seed=600)
    single.stub.Classify(holdfast_pb2.ClassifyRequest(images=map(raw, asked)))
    many = [single.stub.Classify(holdfast_pb2.ClassifyRequest(images=[raw(image)])) for image in asked]
    assert {reply.results[0].answer.label.name for reply in many} == {"red"}
    reply = add(single, new(coloured(0, 30, seed=601), "crimson"))
    assert QUARANTINED in {r.added.state for r in reply.results}
    changed = [answer(single, image) for image in asked].count("crimson")
    assert changed <= 10


def test_an_exemplar_is_shown_with_its_picture_where_it_was_kept(single: Served) -> None:
    (image,) = violet(1)
    (number,) = ids_of(add(single, new([image], "violet", "füße/a")))
    shown = operator(single).GetExemplar(pb.GetExemplarRequest(id=number))
    assert (shown.exemplar.source, shown.exemplar.label, shown.exemplar.author) == ("füße/a/0", "violet", "olga")
    assert shown.exemplar.time.seconds > 1_700_000_000
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shown.thumbnail))), image)
    of_bundle = operator(single).GetExemplar(pb.GetExemplarRequest(id=7))
    assert (of_bundle.exemplar.label, of_bundle.exemplar.source, of_bundle.exemplar.revision) == ("red", "tiny/7", 0)
    assert not of_bundle.thumbnail


def test_marks_of_the_index_builder_are_shown_until_the_class_is_changed(
    tiny_bundle: Path, loop_thread: LoopThread, tmp_path: Path
) -> None:
    names = {
        Flag.DISAGREES: ex.EXEMPLAR_FLAG_DISAGREES,
        Flag.ATTACKED: ex.EXEMPLAR_FLAG_ATTACKED,
        Flag.DOUBTED: ex.EXEMPLAR_FLAG_DOUBTED,
        Flag.PSEUDO: ex.EXEMPLAR_FLAG_PSEUDO,
    }
    assert set(names) == set(Flag)  # a mark that nobody can see is of no use
    with ExitStack() as stack:
        server = start_with_store(stack, with_marks(tiny_bundle, tmp_path / "marked"), loop_thread, tmp_path)
        listed = operator(server).ListExemplars(pb.ListExemplarsRequest(page_size=6)).exemplars
        assert [set(each.flags) for each in listed] == [{names[flag] for flag in marks} for marks in (*MARKS, Flag(0))]
        assert [each.believed for each in listed] == ["", "", "blue", "", "blue", ""]
        update = ex.ExemplarUpdate(id=2, label="blue")
        operator(server).UpdateExemplars(pb.UpdateExemplarsRequest(updates=[update], request_id="relabel"))
        changed = operator(server).GetExemplar(pb.GetExemplarRequest(id=2)).exemplar
        assert (list(changed.flags), changed.believed) == ([], "")


def test_a_list_comes_in_pages_and_an_export_as_one_stream(single: Served) -> None:
    add(single, new(violet(3), "violet"))
    seen: list[int] = []
    request = pb.ListExemplarsRequest(page_size=20)
    while True:
        page = operator(single).ListExemplars(request)
        assert len(page.exemplars) <= 20
        seen += [e.id for e in page.exemplars]
        if not page.HasField("next_after_id"):
            break
        request.after_id = page.next_after_id
    assert seen == [*range(60), *seen[60:]]
    assert len(set(seen)) == 63
    exported = list(operator(single).ExportExemplars(pb.ExportExemplarsRequest(label="violet")))
    assert [e.exemplar.id for e in exported] == seen[60:]
    assert all(e.thumbnail for e in exported)
    assert len(list(operator(single).ExportExemplars(pb.ExportExemplarsRequest()))) == 63


def test_bad_images_are_named_and_the_caller_says_what_becomes_of_the_rest(single: Served) -> None:
    good = new(violet(2), "violet")
    torn = png(violet(1)[0])[:60]
    bad = [
        ex.NewExemplar(image=image_pb2.Image(encoded=torn), label="violet"),
        ex.NewExemplar(label="violet"),
        ex.NewExemplar(image=image_pb2.Image(encoded=b"no image"), label="violet"),
    ]
    mixed = [good[0], *bad, good[1]]
    error = refusal(lambda: add(single, mixed))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    fields = [f"exemplars[{n}].image.{field}" for n, field in ((1, "encoded"), (2, "source"), (3, "encoded"))]
    assert list(violations(error)) == fields
    assert operator(single).GetStatus(pb.GetStatusRequest()).exemplars == 60
    reply = add(single, mixed, on_bad_image=ex.ON_BAD_IMAGE_KEEP_REST)
    assert [r.WhichOneof("outcome") for r in reply.results] == ["added", "error", "error", "error", "added"]
    assert all(f"exemplars[{n}]" in reply.results[n].error.message for n in (1, 2, 3))
    assert operator(single).GetStatus(pb.GetStatusRequest()).exemplars == 62
    none = add(single, bad, "two", on_bad_image=ex.ON_BAD_IMAGE_KEEP_REST)
    assert none.sequence == 0
    assert all(r.WhichOneof("outcome") == "error" for r in none.results)


@pytest.mark.parametrize("name", ["\u0645\u06cc\u200c\u062e", "\U0001f468\u200d\U0001f469", "\N{SNOWMAN} & co."])
def test_names_of_any_script_are_class_names(single: Served, name: str) -> None:
    reply = add(single, new(violet(1), name, "\N{SNOWMAN}" * 300))
    found = operator(single).GetExemplar(pb.GetExemplarRequest(id=reply.results[0].added.id)).exemplar
    assert (found.label, found.source) == (name, "\N{SNOWMAN}" * 300 + "/0")


LONG = "x" * 1000
REFUSED: dict[str, tuple[str, Any, grpc.StatusCode, str]] = {
    "empty add": ("AddExemplars", pb.AddExemplarsRequest(request_id="r"), grpc.StatusCode.INVALID_ARGUMENT, "exemplars"),
    "empty update": ("UpdateExemplars", pb.UpdateExemplarsRequest(request_id="r"), grpc.StatusCode.INVALID_ARGUMENT, "updates"),
    "empty delete": ("DeleteExemplars", pb.DeleteExemplarsRequest(request_id="r"), grpc.StatusCode.INVALID_ARGUMENT, "ids"),
    "no request id": ("DeleteExemplars", pb.DeleteExemplarsRequest(ids=[1]), grpc.StatusCode.INVALID_ARGUMENT, "request_id"),
    "long request id": (
        "DeleteExemplars",
        pb.DeleteExemplarsRequest(ids=[1], request_id=LONG),
        grpc.StatusCode.INVALID_ARGUMENT,
        "request_id",
    ),
    "too many": (
        "DeleteExemplars",
        pb.DeleteExemplarsRequest(ids=range(300), request_id="r"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "ids",
    ),
    "no class name": (
        "AddExemplars",
        pb.AddExemplarsRequest(exemplars=[*new(violet(1), "violet"), *new(violet(1), "")], request_id="r"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "exemplars[1].label",
    ),
    "class name that turns the text around": (
        "UpdateExemplars",
        pb.UpdateExemplarsRequest(updates=[ex.ExemplarUpdate(id=1, label="\u202eder")], request_id="r"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "updates[0].label",
    ),
    "long source": (
        "AddExemplars",
        pb.AddExemplarsRequest(exemplars=new(violet(1), "violet", "x" * 5000), request_id="r"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "exemplars[0].source",
    ),
    "more bad images than an error has room for": (
        "AddExemplars",
        pb.AddExemplarsRequest(exemplars=[ex.NewExemplar(label="violet")] * 256, request_id="r"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "exemplars[9].image.source",
    ),
    "many long class names": (
        "AddExemplars",
        pb.AddExemplarsRequest(exemplars=new(violet(200), "\N{SNOWMAN}" * 300), request_id="r"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "exemplars[0].label",
    ),
    "long class name": (
        "AddExemplars",
        pb.AddExemplarsRequest(exemplars=new(violet(1), LONG), request_id="r"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "exemplars[0].label",
    ),
    "twice": (
        "UpdateExemplars",
        pb.UpdateExemplarsRequest(updates=[ex.ExemplarUpdate(id=1, label="a")] * 2, request_id="r"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "updates",
    ),
    "unknown label": ("ListExemplars", pb.ListExemplarsRequest(label="mauve"), grpc.StatusCode.INVALID_ARGUMENT, "label"),
    "unknown state": ("ListExemplars", pb.ListExemplarsRequest(state=77), grpc.StatusCode.INVALID_ARGUMENT, "state"),  # type: ignore[arg-type]
    "page below 0": ("ListExemplars", pb.ListExemplarsRequest(page_size=-1), grpc.StatusCode.INVALID_ARGUMENT, "page_size"),
    "unknown to get": ("GetExemplar", pb.GetExemplarRequest(id=999), grpc.StatusCode.NOT_FOUND, ""),
    "negative id": ("GetExemplar", pb.GetExemplarRequest(id=-1), grpc.StatusCode.NOT_FOUND, ""),
    "unknown to delete": (
        "DeleteExemplars",
        pb.DeleteExemplarsRequest(ids=[1, 999], request_id="r"),
        grpc.StatusCode.NOT_FOUND,
        "",
    ),
    "unknown to relabel": (
        "UpdateExemplars",
        pb.UpdateExemplarsRequest(updates=[ex.ExemplarUpdate(id=999, label="a")], request_id="r"),
        grpc.StatusCode.NOT_FOUND,
        "",
    ),
    "not in quarantine": (
        "ApproveExemplars",
        pb.ApproveExemplarsRequest(ids=[1], request_id="r"),
        grpc.StatusCode.NOT_FOUND,
        "",
    ),
    "unknown version": ("Reload", pb.ReloadRequest(name="v9"), grpc.StatusCode.NOT_FOUND, ""),
    "nothing to go back to": ("Rollback", pb.RollbackRequest(), grpc.StatusCode.FAILED_PRECONDITION, ""),
}


@pytest.fixture(scope="module")
def untouched(tiny_bundle: Path, loop_thread: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with ExitStack() as stack:
        yield start_with_store(stack, tiny_bundle, loop_thread, tmp_path_factory.mktemp("untouched"))


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_bad_requests_get_one_clear_error_and_change_nothing(untouched: Served, what: str) -> None:
    method, request, code, field = REFUSED[what]
    error = refusal(lambda: getattr(operator(untouched), method)(request))
    assert error.code() is code, error.details()
    if field:
        assert field in violations(error)
    assert "unforeseen" not in error.details()
    status = operator(untouched).GetStatus(pb.GetStatusRequest())
    assert (status.exemplars, status.quarantined, status.sequence) == (60, 0, 0)


@pytest.mark.parametrize(
    ("limit", "images", "waits"),
    [({"store_rows": 61}, 2, False), ({"store_classes": 3}, 1, False), ({"store_rate": 1.0}, 40, True)],
)
def test_limits_are_kept_and_say_when_to_come_again(
    tiny_bundle: Path, loop_thread: LoopThread, tmp_path: Path, *, limit: Any, images: int, waits: bool
) -> None:
    with ExitStack() as stack:
        server = start_with_store(stack, tiny_bundle, loop_thread, tmp_path, **limit)

        def beyond() -> None:
            for n in range(4):
                add(server, new(violet(images, seed=n), "violet"), f"r{n}")

        error = refusal(beyond)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (retry_after(error) is not None) == waits
        assert answer(server, coloured(0, 1, seed=1)[0]) == "red"


def test_changes_are_there_after_a_restart(tiny_bundle: Path, loop_thread: LoopThread, tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = start_with_store(stack, tiny_bundle, loop_thread, tmp_path)
        add(first, new(violet(6), "violet"))
    with ExitStack() as stack:
        second = start_with_store(stack, tiny_bundle, loop_thread, tmp_path)
        assert answer(second, violet(1, seed=9)[0]) == "violet"
        assert add(second, new(violet(6), "violet")).already_applied


def test_versions_are_listed_reloaded_and_gone_back_to(single: Served) -> None:
    (version,) = operator(single).ListVersions(pb.ListVersionsRequest()).versions
    assert version.state == 3  # served
    assert version.name
