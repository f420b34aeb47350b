"""What the live page shows of a running server, and what an operator changes from it."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from PIL import Image

from holdfast.protos.holdfast.v1 import holdfast_pb2 as pb
from tests.server.api.admin import OPERATOR
from tests.server.api.page.browsing import Visit, signed_in
from tests.server.api.page.doubtful import ServePage, add_doubtful
from tests.server.running import Served, wait_for
from tests.server.tiny import coloured, raw


def classify(served: Served, label: int, count: int, seed: int = 1) -> None:
    images = [raw(image) for image in coloured(label, count, seed=seed)]
    served.stub.Classify(pb.ClassifyRequest(images=images))


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_answers_are_shown_as_they_come(serve_page: ServePage, workers: int) -> None:
    served = serve_page(workers=workers)
    operator = signed_in(served, OPERATOR)
    assert "No answers yet" in operator.get("/").text
    classify(served, 1, 30)
    classify(served, 2, 10)
    wait_for(lambda: "latest 40 answers" in operator.get("/live").text)
    text = text_of(operator.get("/live").text)
    assert "green 75.0 %" in text
    assert "blue 25.0 %" in text


def test_flip_rates_are_drawn_once_probes_have_ended(serve_page: ServePage) -> None:
    served = serve_page(probe_rate=1.0, probe_budget=10.0, probe_epsilons=(8 / 255,))
    operator = signed_in(served, OPERATOR)
    assert "No probe has ended yet" in operator.get("/").text
    classify(served, 1, 4)
    wait_for(lambda: "pgd at 8/255:" in operator.get("/live").text)


def test_what_waits_is_shown_with_its_picture_reason_and_neighbours(serve_page: ServePage) -> None:
    served = serve_page()
    number = add_doubtful(served)
    operator = signed_in(served, OPERATOR)
    text = text_of(operator.get("/").text)
    assert "its neighbours vote for blue" in text
    assert "Nearest exemplars blue" in text
    picture = operator.get(f"/exemplars/{number}/thumbnail.png")
    assert Image.open(io.BytesIO(picture.body)).size == (16, 16)
    assert operator.get("/exemplars/3/thumbnail.png").status == 404
    assert operator.get(f"/exemplars/{10**18}/thumbnail.png").status == 404
    assert operator.get(f"/exemplars/{10**19 - 1}/thumbnail.png").status == 404


@pytest.mark.parametrize(("change", "exemplars"), [("approve", 61), ("drop", 60)])
def test_an_operator_decides_what_waits(serve_page: ServePage, change: str, exemplars: int) -> None:
    served = serve_page()
    number = add_doubtful(served)
    operator = signed_in(served, OPERATOR)
    reply = operator.post(f"/exemplars/{number}/{change}")
    assert reply.status == 303
    assert reply.headers["Location"].endswith("#quarantine")
    seen = operator.get(reply.headers["Location"].partition("#")[0]).text
    assert "Nothing waits" in seen
    assert served.app.holder.current.description.exemplars == exemplars
    again = operator.post(f"/exemplars/{number}/{change}")
    assert again.status == 404


def test_a_script_is_told_in_json(serve_page: ServePage) -> None:
    served = serve_page()
    number = add_doubtful(served)
    operator = signed_in(served, OPERATOR)
    reply = operator.post_raw(f"/exemplars/{number}/approve", {}, Accept="application/json", X_Form_Token=operator.form_token)
    assert (reply.status, str(number) in json.loads(reply.body)["said"]) == (200, True)
    refused = operator.post_raw("/versions/rollback", {}, Accept="application/json", X_Form_Token=operator.form_token)
    assert (refused.status, bool(json.loads(refused.body)["error"])) == (400, True)


def test_the_audit_trail_has_the_operators_name(serve_page: ServePage) -> None:
    served = serve_page()
    number = add_doubtful(served)
    signed_in(served, OPERATOR).post(f"/exemplars/{number}/approve")
    assert served.loop.run(served.app.store.get(number)).author == "olga"


def test_a_version_is_served_by_its_name_and_gone_back_from(
    serve_page: ServePage, hostile_bundle: Path, tmp_path: Path
) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    for name in ("v1", "v2"):
        (versions / name).symlink_to(hostile_bundle)
    served = serve_page(bundle=None, bundle_versions=versions, store=None, keep_images=False)
    operator = signed_in(served, OPERATOR)
    seen = operator.get("/").text
    assert "v1" in seen
    assert "Quarantine" not in seen
    assert operator.post("/versions/reload", name="v1").status == 303
    assert operator.post("/versions/reload", name="v9").status == 404
    assert operator.post("/versions/reload", name="v" * 400).status == 400
    assert operator.post("/exemplars/1/approve").status == 400


def test_a_page_that_nobody_looks_at_costs_batches_little(paged: Served) -> None:
    classify(paged, 0, 64)
    assert paged.metric("holdfast_observer_failures_total") == 0


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content_Type": "text/plain"}, b"x", 415),
        ({"Content_Type": "application/x-www-form-urlencoded", "Content_Encoding": "gzip"}, b"x", 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, b"a=b&" * 4000, 413),
        ({"Content_Type": "application/x-www-form-urlencoded"}, b"a=b&" * 100, 400),
        ({"Content_Type": "multipart/form-data"}, b"x", 400),
        ({"Content_Type": "multipart/form-data; boundary=b"}, b"--b\r\n\r\n\r\n--b--\r\n", 400),
        ({"Content_Type": "multipart/form-data; boundary=b"}, b"nothing", 400),
    ],
)
def test_what_is_no_form_is_refused(paged: Served, headers: dict[str, str], body: bytes, status: int) -> None:
    operator: Visit = signed_in(paged, OPERATOR)
    reply = operator.ask("POST", "/sign-out", body, **headers)
    assert (reply.status, status) in {(status, status), (403, 400)}


@pytest.fixture(scope="module")
def operator(paged: Served) -> Visit:
    return signed_in(paged, OPERATOR)


PIECES = [b"--b", b"--b--", b"\r\n", b"\n", b'Content-Disposition: form-data; name="picture"', b"; filename=x", b"\xff", b"a=b"]
PIECES += [b"Content-Transfer-Encoding: base64", b"Content-Type: multipart/mixed; boundary=b", b'name="form_token"', b"\0" * 40]


@effort(max_examples=60)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=14), st.booleans())
def test_whatever_stands_in_a_form_is_no_error_of_the_servers(operator: Visit, pieces: list[bytes], is_multipart: bool) -> None:
    kind = "multipart/form-data; boundary=b" if is_multipart else "application/x-www-form-urlencoded"
    reply = operator.ask("POST", "/bench", b"".join(pieces), Content_Type=kind, X_Form_Token=operator.form_token)
    assert 400 <= reply.status < 500, reply.text


def test_another_method_is_told_which_there_are(paged: Served) -> None:
    operator: Any = signed_in(paged, OPERATOR)
    reply = operator.ask("DELETE", "/live")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET,HEAD") or reply.headers["Allow"].startswith("GET")
