"""What a server and its clients say of an encoder that somebody brought."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from holdfast.bundle.__main__ import main as bundle_command
from holdfast.bundle.manifest import ImportRecord, TrainingRecord
from holdfast.client.__main__ import main as client_command
from holdfast.protos.holdfast.v1 import holdfast_pb2, model_pb2
from tests.bundles import manifest
from tests.server.api.admin import OPERATOR, token_file
from tests.server.api.page.browsing import signed_in
from tests.server.running import LoopThread, start
from tests.server.tiny import DIM, SIDE, write_bundle

IMPORTED = ImportRecord(
    command="holdfast import brought.onnx",
    commit="0" * 40,
    source="brought.onnx",
    sha256="ab" * 32,
    output="features",
    pool="none",
    layout="nchw",
    channels="rgb",
    range=1,
    mean=(0, 0, 0),
    std=(1, 1, 1),
    largest_difference=0,
)


def training(*, hardened: bool) -> TrainingRecord:
    record = manifest(SIDE, DIM, ("a", "b")).trained
    return record.model_copy(update={"hardened": hardened})


def words_of(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>|[│┃]", " ", text).split())


@pytest.mark.parametrize(
    ("imported", "trained", "hardened"),
    [
        (IMPORTED, None, False),
        (IMPORTED, training(hardened=True), True),
        (IMPORTED, training(hardened=False), False),
        (None, training(hardened=False), False),
        (None, training(hardened=True), True),
    ],
    ids=["imported", "imported-and-hardened", "imported-and-trained", "trained", "hardened"],
)
def test_what_nobody_hardened_is_nowhere_called_hardened(
    *,
    imported: ImportRecord | None,
    trained: TrainingRecord | None,
    hardened: bool,
    tmp_path: Path,
    loop_thread: LoopThread,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_bundle(tmp_path / "bundle", imported=imported, training=trained)
    with ExitStack() as stack:
        tokens = token_file(tmp_path / "tokens")
        asked = {"page_port": 0, "admin_port": 0, "admin_token_file": tokens, "store": tmp_path / "store"}
        served = start(stack, loop_thread, tmp_path / "bundle", **asked)
        info = served.stub.GetModelInfo(holdfast_pb2.GetModelInfoRequest())
        page = words_of(signed_in(served, OPERATOR).get("/live").text)
        assert client_command(["info", "--address", served.app.address]) == 0
        told = words_of(capsys.readouterr().out)
        assert bundle_command(["check", str(tmp_path / "bundle")]) == 0
        checked = words_of(capsys.readouterr().out)
    assert info.hardening == (model_pb2.HARDENING_TRAINED if hardened else model_pb2.HARDENING_NONE)
    assert info.threat_model.epsilon == pytest.approx(8 / 255)
    assert info.imported_from == (imported.source if imported else "")
    assert ("Hardened against L-inf 8/255" in page) == hardened
    assert ("Attacks are tried within L-inf 8/255" in page) != hardened
    assert ("hardened against linf 8/255" in told) == hardened
    for shown in (page, told, checked):
        assert ("brought.onnx" in shown) == (imported is not None)
    assert ("hardened no" in checked) != hardened
