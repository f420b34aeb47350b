"""The page in a real browser: Debian's chromium, driven by Playwright."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.api.admin import OPERATOR, READER
from tests.server.api.page.doubtful import HOSTILE, ServePage, add_doubtful
from tests.server.api.page.test_live_page import classify
from tests.server.running import Served, wait_for
from tests.server.tiny import coloured, png

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (holdfast's extra dev)")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here (Debian's package of that name)")

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}

OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with playwright.sync_playwright() as driver:
        # A root user, as in containers, has no sandbox.
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[OpenPage]:
    """A new visitor's page. What a browser complains of, violations of the content security policy too, fails the test."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def opened(served: Served, token: str | None = OPERATOR, *, asked: str = "", **options: Any) -> "Page":
        context = browser.new_context(base_url=served.app.page_url, **options)
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto("/")
        if token is not None:
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_selector("#tiles")
        if asked:
            page.goto(asked)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "green.png"
    path.write_bytes(png(coloured(1, 1, seed=9)[0]))
    return path


def test_figures_are_renewed_and_pause(serve_page: ServePage, open_page: OpenPage) -> None:
    served = serve_page()
    page = open_page(served)
    classify(served, 1, 30)
    page.get_by_text("Of the latest 30 answers").wait_for()
    page.get_by_role("button", name="Pause").click()
    assert page.get_by_role("button", name="Go on").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Go on").click()
    assert page.title() == "tiny · holdfast"  # and not what a class of that name would make of it
    assert page.locator("th", has_text=HOSTILE).count() == 0 or page.get_by_text(HOSTILE).first.is_visible()


def test_an_exemplar_is_approved_and_another_dropped(serve_page: ServePage, open_page: OpenPage) -> None:
    served = serve_page()
    first, second = add_doubtful(served, 5), add_doubtful(served, 6)
    page = open_page(served)
    assert page.locator(f"#exemplar-{first}").get_by_text(HOSTILE).first.is_visible()
    page.locator(f"#approve-{first}").click()
    page.locator(f"#exemplar-{first}").wait_for(state="detached")
    page.locator(f"#drop-{second}").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert page.locator(f"#exemplar-{second}").is_visible()
    page.locator(f"#drop-{second}").click()
    page.get_by_role("dialog").get_by_role("button", name="Yes").click()
    page.get_by_text("Nothing waits").wait_for()
    assert served.app.holder.current.description.exemplars == 61


def test_the_bench_answers_and_attacks(serve_page: ServePage, open_page: OpenPage, picture: Path) -> None:
    page = open_page(serve_page(), asked="/bench")
    page.locator("#picture").set_input_files(picture)
    page.locator(".answer h2", has_text="green").wait_for()
    page.get_by_label("Epsilon").fill("64/255")
    page.get_by_role("button", name="Attack").click()
    page.locator(".outcome .banner", has_text="became").wait_for()
    assert page.locator(".outcome figure img").count() == 3
    assert page.get_by_text("by abstention").is_visible()
    page.get_by_label("L2").check()
    assert page.get_by_label("Epsilon").input_value() == "0.5"


def test_an_attack_is_cancelled(serve_page: ServePage, open_page: OpenPage, picture: Path) -> None:
    served = serve_page(page_attack_steps=10_000, page_attack_seconds=600, page_attack_budget=0.02)
    page = open_page(served, asked="/bench")
    page.locator("#picture").set_input_files(picture)
    page.locator(".answer").wait_for()
    page.locator("#steps").fill("10000")
    page.get_by_role("button", name="Attack").click()
    page.locator("#attack-status", has_text="Candidate").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.locator("#attack-status", has_text="Cancelled").wait_for()
    assert page.evaluate("document.activeElement.id") == "attack-go"


def test_a_picture_that_is_dropped_is_answered(serve_page: ServePage, open_page: OpenPage, picture: Path) -> None:
    page = open_page(serve_page(), READER, asked="/bench")
    assert page.get_by_role("button", name="Attack").count() == 0
    data = page.evaluate_handle(
        "bytes => { const held = new DataTransfer();"
        " held.items.add(new File([new Uint8Array(bytes)], 'green.png', {type: 'image/png'})); return held; }",
        list(picture.read_bytes()),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})
    page.locator(".answer h2", has_text="green").wait_for()


def test_all_of_it_works_by_keyboard(serve_page: ServePage, open_page: OpenPage) -> None:
    served = serve_page()
    number = add_doubtful(served)
    page = open_page(served, None)
    wait_for(lambda: page.evaluate("document.activeElement.id") == "token")
    page.keyboard.type(OPERATOR)
    page.keyboard.press("Enter")
    page.wait_for_selector("#tiles")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if reached[-1] == f"approve-{number}":
            break
    page.keyboard.press("Enter")
    page.get_by_text("Nothing waits").wait_for()
    wait_for(lambda: page.evaluate("document.activeElement !== document.body"))
    page.goto("/bench")
    page.locator("#drop").wait_for()  # which the page's script shows
    page.evaluate("picture.addEventListener('click', (event) => { event.preventDefault(); window.chosen = true; })")
    page.locator("#drop").focus()
    page.keyboard.press("Enter")
    wait_for(lambda: page.evaluate("window.chosen === true"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        PHONE | {"color_scheme": "dark"},
        pytest.param(PHONE, marks=pytest.mark.slow),
        pytest.param({"color_scheme": "dark"}, marks=pytest.mark.slow),
    ],
)
def test_it_fits_its_screen_in_light_and_dark(
    serve_page: ServePage, open_page: OpenPage, picture: Path, options: dict[str, Any]
) -> None:
    served = serve_page()
    add_doubtful(served)
    classify(served, 0, 10)
    page = open_page(served, **options)
    for path in ("/", "/bench"):
        page.goto(path)
        if path == "/bench":
            page.locator("#picture").set_input_files(picture)
            page.locator(".answer").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("window.innerWidth")
        assert page.evaluate(UNREADABLE) == []
        if options.get("has_touch"):
            assert page.evaluate(SMALL) == []


def test_without_scripts_it_can_be_read(serve_page: ServePage, open_page: OpenPage, picture: Path) -> None:
    served = serve_page()
    number = add_doubtful(served)
    page = open_page(served, java_script_enabled=False)
    assert page.locator(f"#exemplar-{number}").is_visible()
    page.locator(f"#approve-{number}").click()
    page.get_by_text("Nothing waits").wait_for()
    page.goto("/bench")
    page.locator("#picture").set_input_files(picture)
    page.locator("#ask").click()
    page.locator(".answer h2", has_text="green").wait_for()


UNREADABLE = """
() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (!/^color\\(/.test(colour) && (rgb(colour)[3] ?? 1) === 1) return rgb(colour);
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (!own || box.width < 2 || box.bottom < 0 || element.closest("svg") || style.visibility === "hidden") continue;
    const [a, b] = [light(rgb(style.color)), light(behind(element))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) found.push([element.className, element.textContent.trim().slice(0, 40)]);
  }
  return found;
}
"""
"""Texts whose contrast with what is behind them is below 4.5, the AA of WCAG 2."""

SMALL = """
() => [...document.querySelectorAll("button, nav a, input:not([type=hidden], [type=radio], .visually-hidden)")]
  .filter((each) => each.getBoundingClientRect().height > 0 && each.getBoundingClientRect().height < 44)
  .map((each) => each.id || each.textContent)
"""
"""What a finger has less than 44 pixels for."""
