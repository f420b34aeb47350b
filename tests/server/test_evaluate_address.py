"""holdfast evaluate --address: a running server attacked by its answers, and the report of that."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from holdfast.auditing import RemoteClassifier
from holdfast.bundle.threat_model import ThreatModel
from holdfast.client import Answer, Client
from holdfast.data import LabelledImages
from holdfast.errors import ContractMismatchError
from holdfast.evaluation.cli import main
from holdfast.evaluation.remote import RemotePlan, evaluate_remotely
from holdfast.evaluation.report.results import Report
from holdfast.model.preprocess import Pixels
from tests.bundles import COLOURS, of_every_colour
from tests.server.running import Serve, Served
from tests.server.tiny import coloured


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three colours, a folder for each class."""
    root = tmp_path_factory.mktemp("colours")
    for part, seed in (("train", 1), ("test", 50)):
        for label, name in enumerate(COLOURS):
            (root / part / name).mkdir(parents=True)
            for number, image in enumerate(coloured(label, 12, seed=seed + label)):
                Image.fromarray(image).save(root / part / name / f"{number}.png")
    return root


def evaluate(served: Served, folder: Path, out: Path, *more: str) -> int:
    words = ["--address", served.app.address, "--data-dir", str(folder), "--out", str(out), "--queries", "15", *more]
    return main([*words, "--images", "6", "--batch-size", "2"])


def report_of(out: Path) -> Report:
    return Report.model_validate_json((out / "report.json").read_bytes())


def test_a_server_is_attacked_and_the_report_says_what_was_not_known(served: Served, folder: Path, tmp_path: Path) -> None:
    assert evaluate(served, folder, tmp_path, "--balls", "linf:0.5", "linf:2/255") == 0
    report = report_of(tmp_path)
    small, large = report.threats
    assert [each.knowledge for each in report.threats] == ["answers alone"] * 2
    assert small.clean.trials == large.clean.trials == report.attacked_images == 6
    assert large.robust.successes < small.robust.successes <= small.clean.successes
    assert {step.kind for step in large.steps} == {"random", "black box"}
    assert [each.attacker for each in report.selective] == ["nobody", "ignores it", "ignores it"]
    assert report.black_box
    assert not report.passed
    page = (tmp_path / "index.html").read_text()
    assert report.black_box in page.replace("&#39;", "'")
    assert "NOT CHECKED" in page


def test_it_goes_on_where_its_minutes_ended(served: Served, folder: Path, tmp_path: Path) -> None:
    whole, sliced = tmp_path / "whole", tmp_path / "sliced"
    assert evaluate(served, folder, whole, "--balls", "linf:0.3") == 0
    slices = 0
    while (status := evaluate(served, folder, sliced, "--balls", "linf:0.3", "--minutes", "1e-6")) == 75:
        slices += 1
        assert not (sliced / "report.json").exists()
    assert status == 0
    assert slices > 2
    ours, theirs = (
        [(step.name, step.tried, step.found) for step in report_of(out).threats[0].steps] for out in (sliced, whole)
    )
    assert ours == theirs


def test_clean_answers_are_asked_for_once_whatever_the_number_of_balls(served: Served) -> None:
    class Listening(RemoteClassifier):
        heard: ClassVar[list[bytes]] = []

        def answers(self, images: Pixels) -> list[Answer]:
            self.heard.append(images.tobytes())
            return super().answers(images)

    images, labels = of_every_colour(2, seed=3)
    test = LabelledImages(images, labels, list(COLOURS), [str(n) for n in range(len(images))])
    plan = RemotePlan((ThreatModel("linf", 0.1), ThreatModel("linf", 0.5)), images=None, queries=10)
    with Client(served.app.address) as client:
        report = evaluate_remotely(Listening(client), test, plan, address=served.app.address)
    assert Listening.heard.count(images.tobytes()) == 1
    small, large = report.threats
    assert set(small.wrong_images) <= set(large.wrong_images)
    assert len(large.wrong_images) == len(images) - large.robust.successes


def test_a_bundle_at_hand_is_tried_first(served: Served, tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    assert evaluate(served, folder, tmp_path, "--balls", "linf:0.5", "--transfer-from", str(tiny_bundle)) == 0
    first = report_of(tmp_path).threats[0].steps[0]
    assert first.kind == "transfer"
    assert first.found > 0  # of the very bundle that is served: nothing transfers better


def test_what_does_not_fit_is_refused(
    served: Served, serve: Serve, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(served, tmp_path / "nowhere", tmp_path / "out") == 2
    assert main(["--address", "127.0.0.1:1", "--data-dir", str(folder), "--timeout", "2"]) == 1
    assert evaluate(served, folder, tmp_path / "out", "--balls", "l7:1") == 2
    capsys.readouterr()
    images, labels = of_every_colour(2, seed=3)
    stranger = LabelledImages(images, labels, ["red", "green", "violet"], [str(n) for n in range(len(images))])
    plan = RemotePlan((ThreatModel("linf", 8 / 255),))
    with Client(served.app.address) as client:
        remote = RemoteClassifier(client)
        with pytest.raises(ContractMismatchError, match="violet"):
            evaluate_remotely(remote, stranger, plan, address=served.app.address)
        small = LabelledImages(np.ascontiguousarray(images[:, :8, :8]), labels, list(COLOURS), stranger.sources)
        with pytest.raises(ContractMismatchError, match="8"):
            evaluate_remotely(remote, small, plan, address=served.app.address)
    assert not (tmp_path / "out" / "report.json").exists()


def test_the_report_is_json_without_anything_of_the_callers_token(served: Served, folder: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hf_secret-of-the-auditor")
    assert evaluate(served, folder, tmp_path / "out", "--balls", "linf:2/255", "--token-file", str(token)) in {0, 1, 2}
    written = tmp_path / "out" / "report.json"
    if written.exists():
        assert "secret-of-the-auditor" not in json.dumps(json.loads(written.read_text()))
