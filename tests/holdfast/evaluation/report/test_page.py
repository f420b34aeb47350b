import re
from collections import Counter

import matplotlib as mpl
import numpy as np
import pytest

from holdfast.evaluation.report import cloud, render, results
from holdfast.evaluation.report.page import attack_rows, balls
from holdfast.evaluation.report.results import Report
from tests.holdfast.evaluation.report.made_up import EMPTY, Page, check, curve, full_report, measured, subject, threat

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "$\\frac{", "_hidden & {{ 7 * 7 }}")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


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
    assert len(plots) == 14
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
    step = results.AttackResult(name=HOSTILE[0], kind=HOSTILE[1], tried=3, found=1, seconds=1)
    hostile = full_report(
        names=HOSTILE,
        subject=subject(HOSTILE, name=HOSTILE[1], objective=HOSTILE[0]),
        checks=(False,),
        threats=(threat("linf", 0.1, "bank known", (1,)).model_copy(update={"steps": (step,)}),),
        selective=(results.Selective(name=HOSTILE[3], points=(results.SelectivePoint(coverage=1, error=0.5),)),),
        curves=(curve("linf", (3, 1)).model_copy(update={"attack": HOSTILE[0]}),),
        training=(results.TrainingCurve(stage=HOSTILE[1], steps=(1,), seconds=(1,), values={HOSTILE[0]: (1.0,)}),),
    )
    named = hostile.model_copy(update={"sanity_checks": (check(HOSTILE[0], passed=False),)})
    page = Page(render(named))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert all(address.startswith("data:") for address in page.having("src"))
    for name in HOSTILE:
        assert " ".join(name.split()) in page.text


@pytest.mark.parametrize(
    ("checks", "said", "unsaid"),
    [
        ((True, True), "PASSED", "FAILED"),
        ((True, False), "FAILED", "PASSED: all"),
        ((), "NOT CHECKED", "PASSED"),
    ],
)
def test_the_banner_says_loudly_what_the_checks_found(checks, said, unsaid):
    html = render(full_report(checks=checks, **(EMPTY | {"threats": (threat("linf", 0.1, "bank known", (1,)),)})))
    text = Page(html).text
    top = text[: text.index("Verdict")]
    assert said in top
    assert unsaid not in top
    if False in checks:
        for words in ("check 1", "it falls", "it rose by 9 points", "The attack is broken."):
            assert words in top
        assert "check 0" not in top
        assert html.count('class="banner failed"') == 1
        assert html.count('class="failed-mark"') == 2  # of the check, and beside the accuracies
        assert "(FAILED)</title>" in html


def test_the_numbers_are_those_of_the_report(page):
    assert re.search(r"93\.0 % \[91\.2 to 94\.4\] of 1,000 .* 40 ", page.text)
    assert re.search(r"L-inf 8/255 .*bank known 67\.5 % \[52\.0 to 79\.9\]", page.text)
    assert re.search(r"\b5 of them .* smaller ball", page.text)
    assert "1,234,567 parameters, 2.0 KiB" in page.text
    assert "1 h 2 min; seed 17" in page.text
    assert "uncommitted changes" in page.text
    assert "loud L-inf 8/255 5.0 % [1.4 to 16.5] not measured 75.0 % [59.8 to 85.8]" in page.text


def test_attacked_exemplars_are_compared_with_none_and_the_difference_has_its_interval(page):
    assert "1,000 of the 4,000 exemplars are attacked images" in page.text
    pairs = re.findall(r"(clean|L-inf 8/255), ([\d,]+) .*? ([+-]\d+\.\d) \[([+-]\d+\.\d) to ([+-]\d+\.\d)\]", page.text)
    assert [pair[:3] for pair in pairs] == [("clean", "1,000", "-0.5"), ("L-inf 8/255", "40", "+12.5")]
    assert all(float(low) < float(middle) < float(high) for _, _, middle, low, high in pairs)


def test_what_other_attacks_found_beyond_is_said(report, page):
    words = "whose credibility is not known"
    assert words not in page.text
    (aimed,) = report.aimed
    assert words in Page(render(report.model_copy(update={"aimed": (aimed.model_copy(update={"beyond": 2}),)}))).text


def test_a_long_suite_is_folded_and_a_short_one_open(html):
    opened = re.findall(r"<details( open)?>\s*<summary>Tried: (\w+) attack", html)
    assert sorted((steps, bool(is_open)) for is_open, steps in opened) == [
        ("14", False),
        ("one", True),
        ("one", True),
        ("three", True),
    ]


def test_without_optional_parts_no_section_is_broken():
    nothing = full_report(**EMPTY)
    page = Page(render(nothing))
    assert "No image was attacked" in page.text
    headings = {"every one that was tried", "Attacked images", "Embeddings", "Detectors", "Error against coverage", "Training"}
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
        rows = attack_rows(result)
        assert rows[-1].after == result.robust
        assert [row.after.successes for row in rows] == [step.tried - step.found for step in result.steps]
