"""The page in a real Chromium: every view, by keyboard, with hostile texts, with nothing from another host.

Needs Debian's chromium (apt-get install chromium), or the one that CHROMIUM names.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("axe_playwright_python", reason="make soak installs it")
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Playwright, expect, sync_playwright

from inference.bundle.manifest import Bundle
from inference.bundle.versions import serving
from inference.log.decision_log import DecisionLog
from tests.logged import decision
from tests.paged import OLD, paged, with_history
from tests.served import Served

pytestmark = pytest.mark.soak
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "مرحبا أين طلبي \u202e dlrow olleh \u202c <b>bold</b>",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f600 " * 20,
    "<x>" + "y" * 9_990 + "</x>",
)


@pytest.fixture(scope="module")
def home(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = with_history(
        tiny_home, tmp_path_factory.mktemp("models"), "it is significantly worse on the intent 'account'", per_day=200
    )
    log = DecisionLog(home / "decisions.db")
    given: dict[str, Any] = {"source": "fallback", "accepted": False, "confidence": 0.0, "time": time.time() - 60}
    for i in range(20 * 64):  # so often that they come first
        text = HOSTILE[i % 20] if i % 20 < len(HOSTILE) else f"nobody could answer number {i % 20}"
        log.put(decision(f"r{i}", text=text, **given))
    log.close()
    return home


@pytest.fixture(scope="module")
def service(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with paged(home, tmp_path_factory.mktemp("service")) as found:
        yield found


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as found:
        yield found


class Visited:
    """A page of the browser that remembers what it asked for and what it complained about."""

    def __init__(self, page: Page, port: int) -> None:
        self.page, self.port = page, port
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(str(error)))

    def open(self, path: str) -> Page:
        self.page.goto(f"http://127.0.0.1:{self.port}{path}")
        return self.page

    def check(self) -> None:
        """Nothing came from elsewhere, and nothing was complained about."""
        assert all(url.startswith(f"http://127.0.0.1:{self.port}/") for url in self.asked), self.asked
        assert not self.said
        self.check_access()

    def check_access(self) -> None:
        found = [one for one in Axe().run(self.page).response["violations"] if one["impact"] in ("serious", "critical")]
        assert not found, json.dumps(found, indent=1)[:4000]


@pytest.fixture
def visited(playwright: Playwright, service: Served, request: pytest.FixtureRequest) -> Iterator[Visited]:
    settings: dict[str, Any] = getattr(request, "param", {})
    path = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
    try:
        yield Visited(browser.new_context(**settings).new_page(), service.port)
    finally:
        browser.close()


LIGHT: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}
DARK = LIGHT | {"color_scheme": "dark"}
PHONE = LIGHT | {"viewport": {"width": 390, "height": 844}}
NO_SCRIPT = LIGHT | {"java_script_enabled": False}


@pytest.mark.parametrize("visited", [LIGHT, DARK, PHONE], indirect=True, ids=["light", "dark", "phone"])
def test_every_view_is_legible_and_fits(visited: Visited, home: Path) -> None:
    card = f"/page/versions/{serving(home)}"
    views = (
        "/page",
        "/page/intents",
        "/page/versions",
        card,
        f"{card}/serve",
        "/page/operating",
        "/page/review",
        "/docs",
    )
    for view in views:
        page = visited.open(f"{view}?since=30d")
        width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, f"{view} is {width} px too wide"
        visited.check()


def test_twenty_queries_are_reviewed_by_keyboard_alone(visited: Visited, home: Path) -> None:
    page = visited.open("/page/review")
    texts = page.locator("#review .text").all_text_contents()
    assert len(texts) == 20
    for text in HOSTILE:
        assert text[:8000] in texts
    assert page.title() == "Review · tiny · Monoku"  # no text of a stranger ran
    progress = page.locator("#progress")
    page.keyboard.press("1")
    expect(progress).to_contain_text("1 of 20")
    page.keyboard.press("u")
    expect(progress).to_contain_text("Undone. 0 of 20")
    for i in range(20):
        page.keyboard.press("123"[i % 3])
    expect(progress).to_contain_text("20 of 20")
    page.keyboard.press("s")
    expect(page.locator(".done")).to_contain_text("20 decisions are saved")
    saved = {row.text: row.intent for row in DecisionLog(home / "decisions.db").read_corrections()}
    names = Bundle.load(home).taxonomy.names
    assert [saved[text] for text in texts] == [names[i % 3] for i in range(20)]
    visited.check()


def test_a_key_is_for_the_query_where_the_person_is(visited: Visited) -> None:
    page = visited.open("/page/review?since=30d")
    fifth = page.locator("#review .query").nth(4)
    fifth.get_by_role("radio").first.focus()  # as by Tab, past the four before
    page.keyboard.press("2")
    assert fifth.get_by_role("radio").nth(1).is_checked()
    expect(page.locator("#progress")).to_contain_text("1 of 20")
    page.get_by_role("link", name="Overview").focus()
    page.keyboard.press("2")  # outside the queue a key decides nothing
    expect(page.locator("#progress")).to_contain_text("1 of 20")


def test_a_version_is_promoted_and_rolled_back_by_hand(visited: Visited, home: Path) -> None:
    first = str(serving(home))
    page = visited.open("/page/versions")
    page.get_by_role("link", name="Roll back to").click()
    page.get_by_role("button", name="Serve").click()
    expect(page.locator(".done")).to_contain_text("serves now")
    assert serving(home) == OLD
    page.goto(f"http://127.0.0.1:{visited.port}/page/versions/{first}")
    page.get_by_role("link", name="Promote").click()
    page.get_by_role("button", name="Serve").click()
    expect(page.locator(".done")).to_contain_text(f"{first} serves now")
    assert serving(home) == first
    visited.check()


def test_the_slider_rests_at_what_is_certified_and_says_what_is_an_estimate(visited: Visited) -> None:
    page = visited.open("/page/operating")
    promise, slider = page.locator("#promise"), page.locator("#at")
    stops = json.loads(str(slider.get_attribute("data-stops")))
    certified = [stop for stop in stops if stop["target"]]
    assert certified
    slider.fill(f"{certified[0]['share'] * 100 + 0.6:.1f}" if certified[0]["share"] < 0.99 else "99.5")
    expect(promise).to_contain_text("certified for")
    slider.fill("10")
    expect(promise).to_have_text("an estimate, not promised")
    expect(page.locator('[data-at="deferred"]')).to_contain_text("a day")
    visited.check()


@pytest.mark.parametrize("visited", [NO_SCRIPT], indirect=True, ids=["without a script"])
def test_without_a_script_a_decision_is_saved_all_the_same(visited: Visited) -> None:
    page = visited.open("/page/review?since=30d")
    page.locator("#review .query").first.get_by_role("radio", name="account").check()
    page.get_by_role("button", name="Save decisions").first.click()
    expect(page.locator(".done")).to_contain_text("1 decisions are saved")
