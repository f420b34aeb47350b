"""The bench: a picture is answered and attacked as the model would be, and nothing of it is kept."""

import base64
import http.client
import io
import json
import re
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from PIL import Image

from holdfast.bundle.exemplars import Flag
from holdfast.bundle.threat_model import ThreatModel
from holdfast.server.monitor.page.attack import BenchAttack
from tests.server.api.admin import OPERATOR, READER, token_file
from tests.server.api.page.browsing import Visit, signed_in
from tests.server.api.page.doubtful import ServePage
from tests.server.marked import with_marks
from tests.server.running import LoopThread, Served, snapshot_of, start, wait_for
from tests.server.tiny import coloured, png

GREEN = coloured(1, 1, seed=9)[0]
PICTURE = re.compile(r'src="data:image/png;base64,([^"]+)"')


def pictures_in(html: str) -> list[Any]:
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in PICTURE.findall(html)]


def attack(operator: Visit, picture: bytes = b"", **fields: str) -> tuple[int, list[dict[str, Any]]]:
    asked = {"norm": "linf", "epsilon": "64/255", "steps": "20"} | fields
    reply = operator.upload("/bench/attack", picture or png(GREEN), asked, Accept="application/json")
    return reply.status, [json.loads(line) for line in reply.body.splitlines()]


def test_a_picture_is_answered_as_a_caller_would_be(paged: Served) -> None:
    reader = signed_in(paged, READER)
    reply = reader.upload("/bench", png(GREEN))
    assert reply.status == 200
    assert "<h2>green</h2>" in reply.text
    assert np.array_equal(pictures_in(reply.text)[0], GREEN)
    part = reader.upload("/bench", png(GREEN), Accept="application/json")
    assert "<h2>green</h2>" in json.loads(part.body)["html"]


def test_neighbours_say_how_they_are_marked(
    hostile_bundle: Path, loop_thread: LoopThread, tmp_path: Path, paged: Served
) -> None:
    marks = [Flag.DOUBTED | Flag.PSEUDO] * 60
    asked = {"page_port": 0, "admin_port": 0, "admin_token_file": token_file(tmp_path / "tokens")}
    with ExitStack() as stack:
        marked = start(stack, loop_thread, with_marks(hostile_bundle, tmp_path / "marked", marks), **asked)
        for served, badges in ((marked, 2), (paged, 0)):
            html = signed_in(served, READER).upload("/bench", png(GREEN)).text
            (neighbours,) = re.findall(r'<ol class="neighbours.*?</ol>', html, flags=re.DOTALL)
            assert neighbours.count("<li") > 0
            assert neighbours.count('class="badge"') == badges * neighbours.count("<li")


def test_the_bench_counts_as_no_traffic_and_leaves_no_file(serve_page: ServePage, tmp_path: Path) -> None:
    served = serve_page()
    operator = signed_in(served, OPERATOR)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    answered = served.metric("holdfast_kth_neighbour_distance_count")
    operator.upload("/bench", png(GREEN))
    attack(operator)
    assert served.metric("holdfast_kth_neighbour_distance_count") == answered
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    assert "green 100" not in operator.get("/live").text


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", "64/255"), ("l2", "6")])
def test_an_attack_shows_both_answers_and_stays_in_its_ball(paged: Served, norm: str, epsilon: str) -> None:
    status, lines = attack(signed_in(paged, OPERATOR), norm=norm, epsilon=epsilon)
    assert status == 200
    *progress, last = lines
    assert progress
    assert all(each["steps"] == 21 for each in progress)
    assert "became" in last["html"]
    clean, attacked, change = pictures_in(last["html"])
    assert np.array_equal(clean, GREEN)
    moved = (attacked.astype(float) - clean) / 255
    length = np.abs(moved).max() if norm == "linf" else np.linalg.norm(moved)
    assert 0 < length <= (64 / 255 if norm == "linf" else 6) + 1e-9
    assert change.std() > 0


def test_an_attack_that_finds_nothing_says_that_this_is_no_proof(paged: Served) -> None:
    operator = signed_in(paged, OPERATOR)
    for _ in range(5):  # one after the other, without a pause
        status, lines = attack(operator, epsilon="1/255", steps="1")
        assert (status, list(lines[-1])) == (200, ["html"])
    assert "no proof" in lines[-1]["html"]


@pytest.mark.parametrize(
    "fields",
    [
        {"epsilon": "8"},
        {"epsilon": "nan"},
        {"epsilon": "-1/255"},
        {"epsilon": "0"},
        {"epsilon": "0.1/255"},
        {"epsilon": ""},
        {"norm": "l1"},
        {"norm": "l2", "epsilon": "inf"},
        {"steps": "0"},
        {"steps": "201"},
        {"steps": "-1"},
        {"steps": "two"},
        {"steps": "9" * 400},
    ],
)
def test_a_ball_that_there_is_none_of_is_refused(paged: Served, fields: dict[str, str]) -> None:
    status, (line,) = attack(signed_in(paged, OPERATOR), **fields)
    assert (status, bool(line["error"])) == (400, True)


@pytest.mark.parametrize("picture", [b"", b"nothing", png(GREEN)[:40]])
def test_what_is_no_picture_is_refused(paged: Served, picture: bytes) -> None:
    reply = signed_in(paged, READER).upload("/bench", picture, Accept="application/json")
    assert (reply.status, "picture" in json.loads(reply.body)["error"]) == (400, True)


def test_a_photograph_is_answered_too(paged: Served) -> None:
    grown = np.asarray(Image.fromarray(GREEN).resize((1600, 1200)))
    noisy = (grown.astype(int) + np.random.default_rng(0).integers(-9, 10, grown.shape)).clip(0, 255).astype(np.uint8)
    assert len(photograph := png(noisy)) > 2 * 2**20
    assert "<h2>green</h2>" in signed_in(paged, READER).upload("/bench", photograph).text


def test_an_upload_is_bounded(serve_page: ServePage) -> None:
    served = serve_page(max_message_bytes=4096)
    assert signed_in(served, READER).upload("/bench", b"x" * 5000).status == 413


def test_one_attack_runs_at_a_time_and_ends_when_its_operator_leaves(serve_page: ServePage) -> None:
    served = serve_page(page_attack_steps=10_000, page_attack_seconds=600, page_attack_budget=0.02)
    first, second = signed_in(served, OPERATOR), signed_in(served, OPERATOR)
    reading, leave = threading.Event(), threading.Event()

    def look() -> None:
        connection = http.client.HTTPConnection(*first.address, timeout=60)
        body, headers = _attack_form(first)
        connection.request("POST", "/bench/attack", body, headers)
        reply = connection.getresponse()
        reply.readline()
        reading.set()
        leave.wait(60)
        connection.close()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        assert reading.wait(30)
        status, (line,) = attack(second)
        assert (status, bool(line["error"])) == (409, True)
        assert served.metric("holdfast_page_refused_total", limit="attacks") == 1
    finally:
        leave.set()
        looking.join()
    wait_for(lambda: attack(second, steps="1")[0] == 200)


def _attack_form(visitor: Visit) -> tuple[bytes, dict[str, str]]:
    sent: list[Any] = []
    recording = Visit(visitor.address, None, visitor.cookies, visitor.form_token)
    recording.ask = lambda method, path, body, **headers: sent.append((body, headers))  # type: ignore[assignment, misc]
    recording.upload("/bench/attack", png(GREEN), {"norm": "linf", "epsilon": "8/255", "steps": "10000"})
    body, headers = sent[0]
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    return body, {"Content-Type": headers["Content_Type"], "Cookie": cookie, "Accept": "application/json"}


def test_an_attack_ends_at_its_limit_with_what_it_has_found(serve_page: ServePage) -> None:
    served = serve_page(page_attack_steps=10_000, page_attack_seconds=0.3, page_attack_budget=0.05)
    _, lines = attack(signed_in(served, OPERATOR), steps="10000")
    assert "its time was over" in lines[-1]["html"]


def test_a_bundle_without_a_gradient_says_so(serve_page: ServePage, tmp_path: Path) -> None:
    from tests.server.tiny import write_bundle

    write_bundle(tmp_path / "plain", gradient=False)
    served = serve_page(bundle=tmp_path / "plain", store=None)
    status, (line,) = attack(signed_in(served, OPERATOR))
    assert (status, "gradient" in line["error"]) == (400, True)


@effort(max_examples=15)
@given(st.integers(1, 12), st.integers(1, 200), st.sampled_from(["linf", "l2"]), st.integers(0, 2**32 - 1))
def test_every_candidate_lies_in_the_ball_and_the_best_is_kept(
    tiny_bundle: Path, steps: int, levels: int, norm: Any, seed: int
) -> None:
    snapshot, threat = snapshot_of(tiny_bundle), ThreatModel(norm, levels / 255)
    rng = np.random.default_rng(seed)
    image = coloured(seed % 3, 1, seed=seed)[0]
    clean = snapshot.classifier.classify(image[None])
    taken = list(BenchAttack(snapshot, image, clean, threat, steps=steps, rng=rng).run())
    assert [each.step for each in taken] == list(range(1, steps + 2))
    for each in taken:
        moved = (each.image.astype(float) - image) / 255
        length = np.abs(moved).max() if norm == "linf" else np.linalg.norm(moved)
        assert length <= threat.epsilon * (1 + 1e-6)
        assert (each.answers.labels[0] != clean.labels[0]) == (each.flipped_at is not None)
    found = [each.answers.credibility[0] for each in taken if each.flipped_at is not None]
    assert found == sorted(found)
