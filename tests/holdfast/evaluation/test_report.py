import base64
import io
import re
import runpy
import sys
from collections import Counter
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pydantic import ValidationError
from sklearn.decomposition import PCA

from holdfast.attacks.victim import ABSTAINED
from holdfast.bundle.reader import Bundle, read_manifest
from holdfast.errors import HashMismatchError, HoldfastError, MissingFileError, SchemaMismatchError
from holdfast.evaluation.report import (
    cloud,
    difference,
    png,
    read_report,
    reliability,
    render,
    results,
    selective,
    training_curves,
    write_report,
)
from holdfast.evaluation.report.cli import main
from holdfast.evaluation.report.page import balls, ladder
from holdfast.evaluation.report.plots import at_or_below
from holdfast.evaluation.report.results import Measured, Report
from holdfast.evaluation.report.words import class_name, duration, size
from holdfast.intervals import Rate
from holdfast.model.credibility import calibrate
from holdfast.model.credibility import credibility as credibility_of
from holdfast.trainer.loop.log import Log
from tests.holdfast.bundle.tiny import write_bundle

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$\\frac{", "_hidden & {{ 7 * 7 }}")
VOID = {"meta", "img", "br", "link", "hr", "input", "base"}


# A whole report of invented numbers, small and the same every time.


def measured(successes, trials=40):
    return Measured.of(Rate(successes, trials))


def image(seed):
    return np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def gate(name="monotone", *, passed=True):
    return results.Gate(name=name, asks="it falls", measured="it rose by 9 points", passed=passed, why="the attack is broken")


def gates_of(passed):
    return tuple(gate(f"gate {i}", passed=held) for i, held in enumerate(passed))


def threat(norm, epsilon, knowledge, found, inherited=0):
    stands, steps = 38 - inherited, []
    for number, count in enumerate(found):
        step = results.StepResult(name=f"attack {number}", kind="white box", tried=stands, found=count, seconds=61.5)
        steps, stands = [*steps, step], stands - count
    rates = {"clean": measured(38), "robust": measured(stands), "dsr": measured(stands, 38)}
    return results.ThreatResult(
        norm=norm, epsilon=epsilon, knowledge=knowledge, inherited=inherited, steps=tuple(steps), **rates
    )


def curve(norm, counts):
    points = [results.CurvePoint(epsilon=0.1 * i, robust=measured(n)) for i, n in enumerate(counts)]
    return results.Curve(norm=norm, attack="PGD-10", points=tuple(points))


def example(number, names):
    near = tuple(results.Neighbour(exemplar=i, label=i % len(names), similarity=0.9 - i / 10) for i in range(4))
    clean, attacked = image(number), image(number + 50)
    return results.Example(
        image=number,
        label=number % len(names),
        clean_answer=number % len(names),
        attacked_answer=ABSTAINED if number == 2 else (number + 1) % len(names),
        clean_credibility=None if number == 1 else 0.5,
        attacked_credibility=0.01,
        found_by="attack 1",
        threat="L-inf 8/255",
        clean_png=png(clean),
        attacked_png=png(attacked),
        difference_png=png(difference(clean, attacked)),
        clean_neighbours=near,
        attacked_neighbours=near[::-1],
        neighbour_pngs={0: png(image(99)), 2: png(image(98))},
    )


def subject(names, **changes):
    values = {
        "name": "made up",
        "encoder": "linear",
        "objective": "none, 3 steps",
        "training_command": "python -m trainer x",
        "training_seconds": 3725,
        "training_commit": "0" * 40,
        "parameters": 1234567,
        "encoder_bytes": 2048,
        "index_bytes": 3 * 2**20,
        "encoder_sha256": "a" * 64,
        "index_sha256": "b" * 64,
        "embedding_dim": 6,
        "exemplars": 4000,
        "vote": "k = 5, uniform weights",
        "class_names": names,
        "data": "none",
        "data_sha256": "c" * 64,
        "training_seed": 17,
        "index_command": "python -m index_build x",
        "abstain_below": 0.25,
    }
    return results.Subject(**(values | changes))


def circumstances():
    return results.Circumstances(
        command="python -m holdfast.evaluation x",
        commit="1" * 40 + "+changes",
        seed=23,
        created="2026-01-01T00:00:00Z",
        seconds=12.3,
        cpu="a CPU",
        cores=1,
        memory_bytes=2**34,
        accelerator="none",
        versions={"numpy": "1", "torch": "2"},
    )


def full_report(names=("cat", "dog", "owl"), gates=(True, True), **changes):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, 30, 6))
    credible, right = rng.integers(1, 11, 40) / 10, rng.random(40) < 0.8
    values = {
        "subject": subject(names),
        "circumstances": circumstances(),
        "clean": measured(930, 1000),
        "attacked_images": 40,
        "threats": (
            threat("l2", 0.5, "bank known", (1,)),
            threat("linf", 8 / 255, "bank unknown", (3,)),
            threat("linf", 8 / 255, "bank known", (4, 0, 2), inherited=5),
            threat("linf", 4 / 255, "bank known", (0,) * 14),
        ),
        "curves": (curve("linf", (38, 20, 3, 0)), curve("l2", (38, 0))),
        "gates": gates_of(gates),
        "alarms": (
            results.AlarmResult(
                name="loud", false_positives=measured(2), detected=measured(0, 0), evaded=measured(30), threat="L-inf 8/255"
            ),
        ),
        "selective": (
            results.Selective(name="clean", points=selective(credible, right)),
            results.Selective(name="L-inf 8/255", points=selective(credible, ~right)),
        ),
        "reliability": reliability(credible, right),
        "examples": tuple(example(i, names) for i in range(3)),
        "cloud": cloud(z[0], z[1], np.arange(30) % len(names), rng.random(30) < 0.5, "L-inf 8/255"),
        "training": (
            results.TrainingCurve(
                stage="first", steps=(1, 2, 3), seconds=(1, 2, 3), values={"loss": (3, None, 1), "gone": (None, None, None)}
            ),
        ),
    }
    return Report(**(values | changes))


EMPTY = {
    "threats": (),
    "curves": (),
    "alarms": (),
    "selective": (),
    "reliability": (),
    "examples": (),
    "cloud": None,
    "training": (),
    "attacked_images": 0,
}


class Page(HTMLParser):
    """Holds the tags to be nested as they are opened, and keeps what tests ask for."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def having(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]


@pytest.fixture(scope="module")
def report():
    return full_report()


@pytest.fixture(scope="module")
def html(report):
    return render(report)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


# The schema


def test_json_gives_the_same_report_back(report):
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_what_json_cannot_say_is_refused_where_it_is_made():
    with pytest.raises(ValidationError):
        results.SelectivePoint(coverage=float("nan"), error=0)


def test_nothing_checked_is_nothing_passed(report):
    assert report.passed
    assert not report.model_copy(update={"gates": ()}).passed
    assert not full_report(gates=(True, False)).passed


# The page


def test_the_same_report_is_the_same_page_whatever_the_caller_did_to_matplotlib(report, html):
    with mpl.rc_context({"font.size": 31, "axes.grid": False, "svg.hashsalt": None}):
        before = dict(mpl.rcParams)
        assert render(Report.model_validate_json(report.model_dump_json())) == html
        assert dict(mpl.rcParams) == before


def test_it_loads_and_runs_nothing(html, page):
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    for address in page.having("src") + page.having("href") + page.having("xlink:href"):
        assert address.startswith(("#", "data:image/png;base64,"))
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert not re.search(r"https?:|@import|url\((?!#)|//[a-z]+\.", html)


def test_its_links_lead_somewhere_and_ids_are_unique(html, page):
    ids = Counter(page.having("id"))
    assert set(ids.values()) == {1}
    asked = [a.removeprefix("#") for a in page.having("href")] + re.findall(r"url\(#([^)]+)\)", html)
    asked += [name for names in page.having("aria-labelledby") for name in names.split()]
    assert set(asked) <= set(ids)


def test_pictures_have_words_and_tables_have_headers(page):
    for tag, attrs in page.tags:
        if tag == "img":
            assert attrs["alt"]
        if tag == "svg":
            assert attrs.get("aria-label") or attrs.get("aria-hidden") == "true"
        if tag == "th":
            assert attrs["scope"] in {"row", "col"}


def test_plots_take_every_colour_from_the_page_and_both_schemes_have_it(html):
    plots = re.findall(r'<svg class="plot".*?</svg>', html, flags=re.DOTALL)
    assert len(plots) == 9
    css = html[html.index("<style>") : html.index("</style>")]
    light, dark = (set(re.findall(r"--([a-z0-9]+):", part)) for part in re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2])
    for plot in plots:
        assert not re.search(r"#[0-9a-f]{6}|rgb\(|font-family", plot)
        assert set(re.findall(r"var\(--([a-z0-9]+)\)", plot)) <= light & (dark | {"paper"})


def luminance(colour):
    levels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in levels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_enough_in_both_schemes(html):
    for scheme in re.findall(r":root \{(.*?)\}", html, re.DOTALL)[:2]:
        colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", scheme))

        def contrast(one, other, colours=colours):
            low, high = sorted((luminance(colours[one]), luminance(colours[other])))
            return (high + 0.05) / (low + 0.05)

        for text in ("ink", "quiet", "link", "good", "bad", "warn"):
            assert min(contrast(text, "paper"), contrast(text, "card")) >= 4.5, (text, scheme)
        for text in ("good", "bad", "warn"):
            assert contrast(text, f"{text}-soft") >= 4.5
        for series in (f"s{i}" for i in range(8)):
            assert contrast(series, "paper") >= 3, (series, scheme)  # WCAG 1.4.11: graphics


def test_hostile_names_stay_text():
    step = results.StepResult(name=HOSTILE[0], kind=HOSTILE[1], tried=3, found=1, seconds=1)
    hostile = full_report(
        names=HOSTILE,
        subject=subject(HOSTILE, name=HOSTILE[1], objective=HOSTILE[0]),
        gates=(False,),
        threats=(threat("linf", 0.1, "bank known", (1,)).model_copy(update={"steps": (step,)}),),
        selective=(results.Selective(name=HOSTILE[3], points=(results.SelectivePoint(coverage=1, error=0.5),)),),
        curves=(curve("linf", (3, 1)).model_copy(update={"attack": HOSTILE[0]}),),
        training=(results.TrainingCurve(stage=HOSTILE[1], steps=(1,), seconds=(1,), values={HOSTILE[0]: (1.0,)}),),
    )
    named = hostile.model_copy(update={"gates": (gate(HOSTILE[0], passed=False),)})
    page = Page(render(named))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert all(address.startswith("data:") for address in page.having("src"))
    for name in HOSTILE:
        assert " ".join(name.split()) in page.text


@pytest.mark.parametrize(
    ("gates", "said", "unsaid"),
    [
        ((True, True), "PASSED: all 2 checks", "cannot be trusted"),
        ((True, False), "FAILED: the robust accuracies below cannot be trusted", "PASSED: all"),
        ((), "NOT CHECKED", "PASSED"),
    ],
)
def test_the_banner_says_loudly_what_the_gates_found(gates, said, unsaid):
    html = render(full_report(gates=gates, **(EMPTY | {"threats": (threat("linf", 0.1, "bank known", (1,)),)})))
    text = Page(html).text
    assert said in text
    assert unsaid not in text
    if False in gates:
        top = text[: text.index("Verdict")]
        assert "gate 1 : asked for: it falls; measured: it rose by 9 points. The attack is broken." in top
        assert "gate 0" not in top
        assert html.count('class="banner failed"') == 1
        assert "Not to be trusted" in text[text.index("Verdict") :]
        assert "(FAILED)</title>" in html


def test_the_numbers_are_those_of_the_report(page):
    assert "93.0 % [91.2 to 94.4] of 1,000 test images. 40 of them were attacked" in page.text
    assert "L-inf 8/255 weights; bank known 67.5 % [52.0 to 79.9]" in page.text
    assert "5 of them fell already within a smaller ball" in page.text
    assert "697,440" not in page.text
    assert "1,234,567 parameters, 2.0 KiB" in page.text
    assert "1 h 2 min; seed 17" in page.text
    assert "uncommitted changes" in page.text
    assert "loud L-inf 8/255 5.0 % [1.4 to 16.5] not measured 75.0 % [59.8 to 85.8]" in page.text


def test_a_long_ladder_is_folded_and_a_short_one_open(html):
    opened = re.findall(r"<details( open)?>\s*<summary>(\d+) step", html)
    assert sorted((int(steps), bool(is_open)) for is_open, steps in opened) == [(1, True), (1, True), (3, True), (14, False)]


def test_without_optional_parts_no_section_is_broken():
    nothing = full_report(**EMPTY)
    page = Page(render(nothing))
    assert "No image was attacked" in page.text
    headings = {"AttackSuite:", "Attacked images", "Embeddings", "Alarms", "Error against coverage", "Training"}
    assert not [heading for heading in headings if heading in page.text]
    ids = set(page.having("id"))
    assert {address.removeprefix("#") for address in page.having("href")} <= ids


@pytest.mark.parametrize("part", sorted(EMPTY))
def test_any_one_part_may_stand_alone(part):
    others = {name: nothing for name, nothing in EMPTY.items() if name != part}
    page = Page(render(full_report(**others)))
    assert {address.removeprefix("#") for address in page.having("href") if address[0] == "#"} <= set(page.having("id"))


def test_parts_that_hold_nothing_are_as_good_as_missing():
    hollow = full_report(
        curves=(results.Curve(norm="linf", attack="none", points=()),),
        selective=(results.Selective(name="clean", points=()),),
        reliability=(results.Bin(low=0, high=1, accuracy=measured(0, 0)),),
        training=(results.TrainingCurve(stage="s", steps=(), seconds=(), values={}),),
        threats=(threat("linf", 0.1, "bank known", ()),),
    )
    text = Page(render(hollow)).text
    assert "Accuracy against epsilon" not in text
    assert "Error against coverage" not in text
    assert "What credibility is worth" not in text


def test_many_classes_are_drawn_too():
    names = tuple(f"class number {i}" for i in range(100))
    labels = np.arange(300) % 100
    z = np.random.default_rng(0).normal(size=(2, 300, 4))
    Page(render(full_report(names=names, cloud=cloud(z[0], z[1], labels, labels % 2 == 0, "L2 1"))))


def test_balls_are_in_order_and_what_stands_after_the_last_step_is_the_robust_accuracy(report):
    ordered = balls(report.threats)
    assert [one.name for one in ordered] == ["L-inf 4/255", "L-inf 8/255", "L2 0.5"]
    assert [result.knowledge for result in ordered[1].results] == ["bank known", "bank unknown"]
    for result in report.threats:
        rows = ladder(result)
        assert rows[-1].after == result.robust
        assert [row.after.successes for row in rows] == [step.tried - step.found for step in result.steps]


# In a bundle


@pytest.fixture
def tiny(tmp_path):
    return write_bundle(tmp_path / "bundle")


@pytest.fixture(scope="module")
def small():
    return full_report(**(EMPTY | {"examples": (example(0, ("cat", "dog")),)}))


def test_a_bundle_carries_its_report(tiny, report, html):
    before = read_manifest(tiny)
    write_report(tiny, report)
    Bundle.open(tiny)  # every hash of the manifest holds
    after = read_manifest(tiny)
    assert after.files.keys() - before.files.keys() == {"report/report.json", "report/index.html"}
    assert after.model_copy(update={"files": before.files}) == before
    assert read_report(tiny) == report
    assert (tiny / "report/index.html").read_text(encoding="utf-8") == html


def test_the_page_is_written_again_from_the_numbers(tiny, small, tmp_path, capsys):
    html = render(small)
    write_report(tiny, small)
    data = (tiny / "report/report.json").read_bytes()
    (tiny / "report/index.html").unlink()
    assert main([str(tiny)]) == 0
    assert "2 gates, passed" in " ".join(capsys.readouterr().out.split())
    assert (tiny / "report/index.html").read_text(encoding="utf-8") == html
    assert (tiny / "report/report.json").read_bytes() == data
    manifest = (tiny / "manifest.json").read_bytes()
    assert main([str(tiny), "--out", str(tmp_path / "copy.html")]) == 0
    assert (tmp_path / "copy.html").read_text(encoding="utf-8") == html
    assert (tiny / "manifest.json").read_bytes() == manifest


def test_a_report_can_travel_without_the_images_of_its_data_set(tiny, report, tmp_path, capsys):
    write_report(tiny, report)
    whole = (tiny / "report/index.html").read_text()
    pictures = [e.clean_png for e in report.examples] + [e.attacked_png for e in report.examples]
    pictures += [picture for e in report.examples for picture in e.neighbour_pngs.values()]
    assert all(picture in whole for picture in pictures)
    assert "not in this report" not in whole
    assert main([str(tiny), "--without-pictures", "--out", str(tmp_path / "sent.html")]) == 0
    assert read_report(tiny) == report
    assert main([str(tiny), "--without-pictures"]) == 0
    Bundle.open(tiny)
    for page in (tmp_path / "sent.html", tiny / "report/index.html", tiny / "report/report.json"):
        written = page.read_text()
        assert not any(picture in written for picture in pictures)
        assert all(e.difference_png in written for e in report.examples)
    shown = Page((tiny / "report/index.html").read_text())
    assert shown.text.count("not in this report") == 2 * len(report.examples)
    assert "travel without" in shown.text
    capsys.readouterr()


def test_a_report_that_is_not_there_or_was_changed_is_refused(tiny, small, tmp_path, capsys):
    with pytest.raises(MissingFileError, match="not a bundle"):
        read_report(tmp_path)
    with pytest.raises(MissingFileError, match="measure the bundle first"):
        read_report(tiny)
    assert main([str(tiny)]) == 1
    assert "holds no report/report.json" in " ".join(capsys.readouterr().out.split())
    write_report(tiny, small)
    path = tiny / "report/report.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.", "1."), encoding="utf-8")
    with pytest.raises(HashMismatchError):
        read_report(tiny)


def test_a_report_of_another_version_is_refused(tiny, small):
    write_report(tiny, small.model_copy(update={"report_version": 2}))
    with pytest.raises(SchemaMismatchError, match="report_version"):
        read_report(tiny)


def test_help_teaches(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["report", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_module("holdfast.evaluation.report", run_name="__main__")
    assert "--out report.html" in capsys.readouterr().out


# Pictures

IMAGES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@settings(deadline=None)
@given(IMAGES)
def test_a_png_holds_exactly_the_image(image):
    with Image.open(io.BytesIO(base64.b64decode(png(image)))) as read:
        np.testing.assert_array_equal(np.asarray(read.convert("RGB")), image)
    assert png(image) == png(np.asfortranarray(image))


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3))])
def test_what_is_no_image_is_refused(wrong):
    with pytest.raises(ValueError, match="an image is uint8"):
        png(wrong)


@settings(deadline=None)
@given(st.data())
def test_a_difference_is_stretched_around_grey(data):
    clean = data.draw(IMAGES)
    attacked = data.draw(hnp.arrays(np.uint8, clean.shape))
    shown, moved = difference(clean, attacked).astype(int), attacked.astype(int) - clean
    np.testing.assert_array_equal(np.sign(shown - 128)[np.abs(shown - 128) > 0], np.sign(moved)[np.abs(shown - 128) > 0])
    assert (shown[moved == 0] == 128).all()
    np.testing.assert_array_equal(shown + difference(attacked, clean), np.full_like(shown, 256))
    assert np.abs(shown - 128).max() == (127 if moved.any() else 0)


# Embeddings


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 40), st.integers(2, 8), st.integers(0, 1000))
def test_a_cloud_is_the_principal_components_of_the_clean_embeddings(n, dim, seed):
    rng = np.random.default_rng(seed)
    clean, attacked = rng.normal(size=(2, n, dim)) * rng.uniform(0.5, 3, dim)
    fooled = rng.random(n) < 0.5
    drawn = cloud(clean, attacked, np.arange(n) % 3, fooled, "ball")
    reference = PCA(2).fit(clean)
    np.testing.assert_allclose(drawn.explained, reference.explained_variance_ratio_, rtol=1e-6)
    signs = np.sign((np.array(drawn.clean) * reference.transform(clean)).sum(0))
    np.testing.assert_allclose(drawn.clean, reference.transform(clean) * signs, atol=2e-4)
    np.testing.assert_allclose(drawn.attacked, reference.transform(attacked) * signs, atol=2e-4)
    assert drawn.fooled == tuple(fooled.tolist())


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_the_signs_of_a_cloud_do_not_hang_on_the_decomposition(seed):
    z = np.random.default_rng(seed).normal(size=(20, 5)) * np.array([5, 3, 1, 1, 1])
    labels, fooled = np.zeros(20, int), np.zeros(20, bool)
    once = cloud(z, z, labels, fooled, "")
    order = np.random.default_rng(seed).permutation(20)
    again = cloud(z[order], z[order], labels, fooled, "")
    np.testing.assert_allclose(np.array(once.clean)[order], again.clean, atol=2e-4)


def test_a_large_cloud_is_thinned_by_whole_images():
    z = np.random.default_rng(0).normal(size=(2, 1000, 3))
    labels = np.arange(1000)
    everything = cloud(z[0], z[1], labels, labels % 2 == 0, "", points=1000)
    drawn = cloud(z[0], z[1], labels, labels % 2 == 0, "", points=77)
    assert len(drawn.labels) == len(set(drawn.labels)) == 77
    for i, row in enumerate(drawn.labels):
        assert (drawn.clean[i], drawn.attacked[i]) == (everything.clean[row], everything.attacked[row])
        assert drawn.fooled[i] == (row % 2 == 0)


@pytest.mark.parametrize("shape", [(1, 4), (5, 1), (3, 2)])
def test_a_cloud_of_next_to_nothing(shape):
    z = np.ones(shape)
    drawn = cloud(z, z + 1, np.zeros(len(z), int), np.ones(len(z), bool), "")
    assert drawn.clean == ((0.0, 0.0),) * len(z)
    assert drawn.explained == (0.0, 0.0)


def test_a_cloud_of_arrays_that_do_not_fit_is_refused():
    with pytest.raises(ValueError, match="a cloud is of"):
        cloud(np.ones((3, 2)), np.ones((2, 2)), np.zeros(3, int), np.zeros(3, bool), "")


# Credibility

ANSWERS = st.lists(st.tuples(st.integers(1, 20).map(lambda i: i / 20), st.booleans()), min_size=1, max_size=60)


def columns(answers):
    credible, right = zip(*answers, strict=True)
    return np.array(credible), np.array(right)


@settings(deadline=None)
@given(ANSWERS)
def test_selective_is_what_each_threshold_answers(answers):
    credible, right = columns(answers)
    points = selective(credible, right)
    assert [point.credibility for point in points] == sorted(set(credible), reverse=True)
    for point in points:
        answered = credible >= point.credibility
        assert point.coverage == pytest.approx(answered.mean())
        assert point.error == pytest.approx(1 - right[answered].mean())
    assert (points[-1].coverage, points[-1].error) == (1, pytest.approx(1 - right.mean()))


@settings(deadline=None)
@given(ANSWERS, st.integers(1, 20))
def test_every_answer_is_in_the_bin_that_holds_its_credibility(answers, bins):
    credible, right = columns(answers)
    found = reliability(credible, right, bins=bins)
    assert [one.high for one in found[:-1]] == [one.low for one in found[1:]]
    assert (found[0].low, found[-1].high) == (0, 1)
    for one in found:
        inside = (credible > one.low) & (credible <= one.high)
        assert (one.accuracy.successes, one.accuracy.trials) == (right[inside].sum(), inside.sum())
    for edge, share in at_or_below(found):
        assert share.value == pytest.approx((credible <= edge).mean())


def test_without_calibration_there_is_nothing_to_tell():
    nothing, right = np.full(3, np.nan), np.ones(3, bool)
    assert selective(nothing, right) == reliability(nothing, right) == ()


@pytest.mark.parametrize("wrong", [[0.5, np.nan], [0.0, 1.0], [0.5, 1.1], [0.5]])
@pytest.mark.parametrize("of", [selective, reliability])
def test_what_is_no_credibility_is_refused(of, wrong):
    with pytest.raises(ValueError, match="credibility"):
        of(np.array(wrong), np.ones(2, bool))


def test_the_page_holds_credibility_to_what_it_promises():
    """On exchangeable images, at most a share e has a credibility of at most e; the page's plot rests on that."""
    rng = np.random.default_rng(0)
    counts, labels = rng.multinomial(15, [0.6, 0.3, 0.1], size=8000), rng.choice(3, 8000, p=[0.6, 0.3, 0.1])
    calibration = calibrate(counts[:4000], labels[:4000], 15)
    credible, _ = credibility_of(counts[4000:], calibration, 15)
    bins = reliability(credible, counts[4000:].argmax(1) == labels[4000:])
    assert all(share.low <= edge for edge, share in at_or_below(bins))


# The training log


def test_the_log_as_training_writes_it_is_read_back(tmp_path):
    with Log(tmp_path, ("extra", "late"), seconds=0, console=None) as log:
        log.begin({})
        for stage, factor in (("one", 1), ("two", 2)):
            for step in range(1, 1001):
                values = {"loss": factor / step, "gradient_norm": float("inf") if step == 1000 else 1.0}
                log.write(stage, step, values | ({"late": 1.0} if step > 500 and factor == 2 else {}))
    one, two = training_curves(tmp_path / "log.csv")
    assert (one.stage, two.stage) == ("one", "two")
    assert (one.steps[0], one.steps[-1], len(one.steps)) == (1, 1000, 300)
    assert sorted(set(one.steps)) == list(one.steps)
    assert one.values.keys() == {"loss", "gradient_norm"}
    assert two.values["late"] == tuple(None if step <= 500 else 1.0 for step in two.steps)
    np.testing.assert_allclose(two.values["loss"], 2 / np.array(two.steps), rtol=1e-5)
    assert one.values["gradient_norm"][-1] is None
    assert len(one.seconds) == 300
    short = training_curves(tmp_path / "log.csv", points=5000)[0]
    assert short.steps == tuple(range(1, 1001))


def test_no_log_is_no_curve_and_a_wrong_one_is_told(tmp_path):
    assert training_curves(tmp_path / "log.csv") == ()
    for wrong in ("a,b\n1,2\n", "stage,step,seconds,loss\ns,one,2,3\n", "stage,step,seconds,loss\ns,1\n"):
        (tmp_path / "log.csv").write_text(wrong)
        with pytest.raises(HoldfastError, match="not a training log"):
            training_curves(tmp_path / "log.csv")


# Words


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (90, "1 min 30 s"), (119.6, "2 min 0 s"), (3725, "1 h 2 min")]
)
def test_durations(seconds, said):
    assert duration(seconds) == said


def test_sizes_and_class_names():
    assert [size(n) for n in (0, 1023, 1536, 2**34)] == ["0 B", "1023 B", "1.5 KiB", "16.0 GiB"]
    assert [class_name(i, ("a", "b")) for i in (-1, 0, 1, 2)] == ["no answer", "a", "b", "class 2"]
