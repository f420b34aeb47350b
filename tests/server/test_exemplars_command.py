"""holdfast exemplars and holdfast versions, from what is typed to what a real server then answers."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from holdfast.cli import main
from holdfast.client import Client
from holdfast.client.admin import AdminClient, LabelledImage
from holdfast.client.errors import ClientError, ImageRefusedError
from tests.server.api.admin import OPERATOR, READER
from tests.server.api.test_admin_exemplars import start_with_store, violet
from tests.server.running import LoopThread, Served
from tests.server.tiny import coloured, png

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tiny_bundle: Path, loop_thread: LoopThread, tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        yield start_with_store(stack, tiny_bundle, loop_thread, tmp_path)


@pytest.fixture
def run(server: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HOLDFAST_ADMIN_TOKEN", OPERATOR)

    def typed(*arguments: object, program: str = "exemplars") -> tuple[int, str, str]:
        status = main([program, *map(str, arguments), "--address", server.app.admin_address])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return typed


def write(folder: Path, images: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        (folder / f"{number}.png").write_bytes(png(image))
    return folder


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def answer(server: Served, image: Any) -> str:
    with Client(server.app.address) as client:
        return client.classify(image).label


def listed(run: Run, *flags: str) -> list[dict[str, Any]]:
    status, out, _ = run("list", "--json", *flags)
    assert status == 0
    found: list[dict[str, Any]] = json.loads(out)
    return found


def test_a_folder_is_added_once_however_often_it_is_sent(run: Run, server: Served, tmp_path: Path) -> None:
    write(tmp_path / "photos" / "violet", violet(6))
    write(tmp_path / "photos" / "red", coloured(0, 3, seed=77))
    status, out, _ = run("add", tmp_path / "photos", "--json")
    assert status == 0
    assert json.loads(out) == {"added": 9, "quarantined": [], "refused": [], "already_there": 0, "sent_before": 0}
    assert answer(server, violet(1, seed=9)[0]) == "violet"
    write(tmp_path / "photos" / "violet", violet(8))  # two more
    status, out, _ = run("add", tmp_path / "photos", "--json")
    assert json.loads(out) == {"added": 2, "quarantined": [], "refused": [], "already_there": 9, "sent_before": 0}
    assert {each["source"] for each in listed(run, "--label", "violet")} == {f"photos/violet/{n}.png" for n in range(8)}
    assert run("add", tmp_path / "photos")[0] == 0
    assert len(listed(run, "--label", "violet")) == 8


def test_what_was_sent_before_and_deleted_comes_again_only_where_that_is_said(run: Run, tmp_path: Path) -> None:
    folder = write(tmp_path / "photos" / "violet", violet(3)).parent
    run("add", folder)
    assert run("rm", *(each["id"] for each in listed(run, "--label", "violet")))[0] == 0
    assert json.loads(run("add", folder, "--json")[1])["sent_before"] == 3
    assert listed(run, "--label", "violet") == []
    again = json.loads(run("add", folder, "--again", "--json")[1])
    assert again["added"] == 3, again
    assert len(listed(run, "--label", "violet")) == 3


def test_files_of_one_class_are_added_by_its_name_and_bad_ones_are_named(run: Run, tmp_path: Path) -> None:
    folder = write(tmp_path / "some", violet(2))
    (folder / "torn.png").write_bytes(png(violet(1)[0])[:50])
    files = sorted(folder.iterdir())
    status, out, _ = run("add", *files, "--label", "violet")
    assert status == 2
    assert "added 2" in out
    assert "torn.png" in out
    status, _, err = run("add", *files, "--label", "violet", "--all-or-nothing", "--again")
    assert status == 2
    assert f"{folder / 'torn.png'}: " in err
    assert len(listed(run, "--label", "violet")) == 2
    status, _, err = run("add", *files)
    assert status == 2
    assert "--label" in err


def test_what_a_server_of_small_calls_takes_is_sent_to_it(
    tiny_bundle: Path,
    loop_thread: LoopThread,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOLDFAST_ADMIN_TOKEN", OPERATOR)
    folder = write(tmp_path / "photos" / "violet", violet(9))
    most = 2 * max(path.stat().st_size for path in folder.iterdir()) + 300
    (folder / "large.png").write_bytes(png(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    files = sorted(folder.iterdir())
    with ExitStack() as stack:
        small = {"max_message_bytes": most, "max_images": 4, "judge": False}
        server = start_with_store(stack, tiny_bundle, loop_thread, tmp_path, **small)
        status = main(["exemplars", "add", str(folder.parent), "--json", "--address", server.app.admin_address])
        added = json.loads(capsys.readouterr().out)
        assert (status, added["added"], [each["file"] for each in added["refused"]]) == (2, 9, [str(folder / "large.png")])
        assert main(["classify", *map(str, files), "--json", "--address", server.app.address]) == 2
        answers = json.loads(capsys.readouterr().out)
        assert [Path(each["image"]).name for each in answers if "error" in each] == ["large.png"]
        assert {each["label"] for each in answers if "error" not in each} == {"violet"}
        for command in (["relabel", "--label", "purple"], ["rm"]):
            assert main(["exemplars", *command, *map(str, range(50, 69)), "--address", server.app.admin_address]) == 0
            assert "19 exemplars" in capsys.readouterr().out


def test_quarantine_is_listed_approved_and_dropped(run: Run, server: Served, tmp_path: Path) -> None:
    folder = write(tmp_path / "blue", coloured(0, 3, seed=500))
    status, out, _ = run("add", folder, "--label", "blue")
    assert status == 0
    assert "quarantine" in out
    waiting = listed(run, "--state", "quarantined")
    assert all("red" in each["reason"] and each["author"] == "olga" for each in waiting)
    first, second, _ = (each["id"] for each in waiting)
    printed = run("list", "--state", "quarantined")[1]
    for each in waiting:  # unbroken, once, with what approve and drop take
        (line,) = (line for line in printed.splitlines() if line.startswith(each["reason"]))
        assert str(each["id"]) in line.split()
    assert run("approve")[0] == 2  # which?
    assert run("approve", first)[0] == 0
    assert run("drop", second)[0] == 0
    assert run("drop", "--all")[0] == 0
    assert listed(run, "--state", "quarantined") == []
    assert [each["id"] for each in listed(run, "--label", "blue") if each["id"] >= 60] == [first]
    assert run("approve", first)[0] == 2


def test_what_was_added_before_a_failure_is_said(run: Run, tmp_path: Path) -> None:
    folder = write(tmp_path / "photos" / "violet", violet(4))
    (folder / "torn.png").write_bytes(png(violet(1)[0])[:50])
    status, out, _ = run("add", folder, "--label", "violet", "--batch", 2, "--all-or-nothing")
    assert status == 2
    assert "added 4" in out


def test_changes_are_printed_as_json_and_each_exemplar_is_counted_once(run: Run, tmp_path: Path) -> None:
    run("add", write(tmp_path / "v", violet(4)), "--label", "violet")
    first, second, *_ = ids = [each["id"] for each in listed(run, "--label", "violet")]
    changed = json.loads(run("relabel", *ids, first, "--label", "purple", "--json")[1])
    assert (changed["relabelled"], changed["label"]) == (ids, "purple")
    for waiting in changed["quarantined"]:
        assert json.loads(run("approve", waiting, waiting, "--json")[1]) == {"approved": [waiting]}
    assert json.loads(run("rm", first, first, "--json")[1]) == {"deleted": [first]}
    assert "deleted 1 exemplar\n" in run("rm", second, second)[1]
    exported = json.loads(run("export", tmp_path / "kept", "--label", "purple", "--json")[1])
    assert exported == {"pictures": 2, "without_pictures": 0, "directory": str(tmp_path / "kept")}


def test_a_list_that_is_cut_short_says_so_also_as_json(run: Run) -> None:
    status, out, err = run("list", "--json", "--limit", 5)
    assert (status, len(json.loads(out))) == (0, 5)
    assert "--limit" in err


@pytest.mark.parametrize(
    ("command", "flags", "done"), [("relabel", ["--label", "purple"], "relabelled"), ("rm", [], "deleted")]
)
def test_what_was_done_before_a_failure_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, flags: list[str], done: str
) -> None:
    monkeypatch.setattr("holdfast.client.admin.commands.CHANGED_AT_ONCE", 20)
    unknown = 99_999
    status, out, err = run(command, *range(50), unknown, *flags, "--json")
    assert status == 2
    assert str(unknown) in err
    assert json.loads(out)[done] == list(range(40))
    status, out, err = run(command, *range(40, 50), unknown, *flags)  # the first part fails: nothing was done
    assert (status, out) == (2, "")
    unchanged = {each["id"] for each in listed(run, "--state", "served") if each["label"] != "purple"}
    assert unchanged == set(range(40, 60))


def test_labels_show_relabel_and_status(run: Run, server: Served, tmp_path: Path) -> None:
    run("add", write(tmp_path / "v", violet(4)), "--label", "violet")
    ids = [each["id"] for each in listed(run, "--label", "violet")]
    assert json.loads(run("labels", "--json")[1])[-1] == {"index": 3, "name": "violet", "exemplars": 4}
    assert "violet" in run("labels")[1]
    status, out, _ = run("show", ids[0], "--picture", tmp_path / "shown.png")
    assert status == 0
    assert "v/0.png" in out
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "shown.png")), violet(4)[0])
    assert run("show", 3, "--picture", tmp_path / "none.png")[0] == 2
    assert not (tmp_path / "none.png").exists()
    assert run("relabel", *ids, "--label", "purple")[0] == 0
    run("approve", "--all") if listed(run, "--state", "quarantined") else None
    assert answer(server, violet(1, seed=9)[0]) == "purple"
    found = json.loads(run("status", "--json")[1])
    assert (found["name"], found["exemplars"], found["classes"], found["keeps_store"]) == ("tiny", 64, 5, True)
    assert "64 vote" in run("status")[1]


def test_what_is_exported_can_be_added_to_another_server(
    run: Run, tiny_bundle: Path, loop_thread: LoopThread, tmp_path: Path
) -> None:
    run("add", write(tmp_path / "v", violet(3)), "--label", "vio/let")
    status, out, err = run("export", tmp_path / "out")
    assert status == 0
    assert "3 pictures" in out
    assert "60 without" in err
    kept, others = (
        list(csv.DictReader(io.StringIO((tmp_path / "out" / name).read_text())))
        for name in ("exemplars.csv", "without-pictures.csv")
    )
    assert len(others) == 60
    assert not any(row["path"] for row in others)
    assert all((tmp_path / "out" / row["path"]).is_file() for row in kept)  # holdfast index refuses rows without paths
    assert [row["label"] for row in kept] == ["vio/let"] * 3
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / kept[0]["path"])), violet(3)[0])
    assert "--keep-images" in err
    assert run("export", tmp_path / "out")[0] == 2  # it is not empty


def test_versions_are_listed_and_reloaded(run: Run) -> None:
    status, out, _ = run("list", "--json", program="versions")
    assert status == 0
    (version,) = json.loads(out)
    assert version["state"] == "served"
    assert version["name"] in run("list", program="versions")[1]
    assert run("reload", "v9", program="versions")[0] == 2
    assert run("rollback", program="versions")[0] == 2


def test_who_may_not_is_told_what_to_do(
    run: Run, server: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run("rm", 1, "--token-file", written(tmp_path / "reader", f"rita:{READER}:read\n"))
    assert status == 2
    assert "scope" in err
    assert run("labels", "--token-file", written(tmp_path / "bare", f"{READER}\n"))[0] == 0
    monkeypatch.delenv("HOLDFAST_ADMIN_TOKEN")
    status, _, err = run("labels")
    assert status == 2
    assert "--token-file" in err
    assert run("labels", "--token-file", tmp_path / "absent")[0] == 2
    assert run("labels", "--token-file", tmp_path / "tokens")[0] == 2  # the server's own, with two tokens
    monkeypatch.setenv("HOLDFAST_ADMIN_TOKEN", OPERATOR)
    assert main(["exemplars", "labels", "--address", "127.0.0.1:1", "--timeout", "5"]) == 1
    assert "--store" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["exemplars"], ["exemplars", "add"], ["versions"], ["versions", "reload"]])
def test_help_teaches(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])
    assert left.value.code == 0
    assert "holdfast" in capsys.readouterr().out


def test_a_program_adds_with_the_same_request_id_once(server: Served) -> None:
    images = [LabelledImage(image, "violet", f"camera/{n}") for n, image in enumerate(violet(3))]
    with AdminClient(server.app.admin_address, OPERATOR) as admin:
        first, second = (admin.add(images, request_id="one") for _ in range(2))
        assert first.images == second.images
        assert (first.repeated, second.repeated) == (False, True)
        assert [each.id for each in admin.exemplars(label="violet", page=2)] == [60, 61, 62]
        with pytest.raises(ImageRefusedError):
            admin.add([LabelledImage(b"no image", "violet")])
        with pytest.raises(ClientError, match="999"):
            admin.exemplar(999)
