"""The page as a browser without scripts sees it: a real service, with a simulated history in its log."""

import contextlib
import html
import json
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.bundle.manifest import BundleError, read_manifest, resolve
from inference.bundle.versions import serving, switch
from inference.log.decision_log import DecisionLog
from inference.log.figures import summarise
from inference.log.rows import Costs
from inference.report import amount, period
from inference.service.page.bundles import listed
from inference.service.page.operating import curve
from inference.service.page.overview import Period, overview
from inference.service.page.review import key_of, worth
from tests.browser import Browser
from tests.logged import answer, decision
from tests.paged import BAD, OLD, paged, with_history
from tests.served import Served, served

TOKEN = "a-token-of-the-tests"
VIEWS = ("", "/intents", "/versions", "/operating", "/review")
HOSTILE = "<script>alert(1)</script> \"'><img src=x onerror=alert(2)> \u202egnp.exe \U0001f600 " + "long " * 1500


@pytest.fixture(scope="module")
def home(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with three versions, one of them rejected, and two weeks in its log."""
    home = with_history(
        tiny_home, tmp_path_factory.mktemp("models"), "it is <b>worse</b> on the intent 'account'", per_day=60
    )
    return home


@pytest.fixture(scope="module")
def service(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with paged(home, tmp_path_factory.mktemp("service")) as found:
        yield found


@pytest.fixture
def browser(service: Served) -> Browser:
    return Browser(service.port)


@pytest.fixture
def log(home: Path) -> DecisionLog:
    return DecisionLog(home / "decisions.db")


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_readable_without_a_script_and_loads_nothing_from_elsewhere(browser: Browser, view: str) -> None:
    shown = browser.get(f"/page{view}?since=30d")
    assert shown.status == 200, shown.words
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
    assert "unsafe" not in shown.headers["Content-Security-Policy"]
    assert set(re.findall(r"<script[^>]*>", shown.text)) == {'<script src="/page/script.js" defer>'}
    assert not re.search(r"\s(?:style|on\w+)=", shown.text)
    assert not re.search(r'(?:src|href|action)="(?!/page|#)', shown.text)


def test_the_overview_says_what_the_report_says(browser: Browser, log: DecisionLog) -> None:
    words = browser.get("/page?since=30d").words
    report = summarise(log, *period("30d", "now", time.time()))
    assert f"{report['requests']:,} requests" in words
    for figure in report["figures"]:
        assert amount(figure.value, figure.unit) in words
        assert " ".join(figure.note.split()) in words
    assert "Suspended from" in words  # the simulated alarm


def test_the_intents_say_what_the_report_says(browser: Browser, log: DecisionLog, home: Path) -> None:
    words = browser.get("/page/intents?since=30d").words
    report = summarise(log, *period("30d", "now", time.time()), home)
    for row in report["intents"]:
        asked = f"{row['agreement'] * 100:.1f} % of {row['asked']:,}" if row["asked"] else "no data"
        assert f"{row['intent']} {row['requests']:,} {row['share'] * 100:.1f} % {asked}" in words
    assert report["drift"]["confidence"]["verdict"] in words


def test_the_operating_point_says_what_the_certificates_say(browser: Browser, home: Path) -> None:
    words = browser.get("/page/operating?volume=1000").words
    found = [one for one in read_manifest(resolve(home)).certificates if one.accept_above is not None]
    assert found
    for one in found:
        deferred = round((1 - one.coverage) * 1000)
        assert f"{one.coverage * 100:.1f} % {(one.agreement or 0) * 100:.1f} % {deferred:,}" in words


def test_between_certified_targets_the_operating_point_is_called_an_estimate(browser: Browser, home: Path) -> None:
    target = next(one for one in read_manifest(resolve(home)).certificates if one.accept_above is not None)
    at_target = browser.get(f"/page/operating?at={target.coverage * 100}")
    elsewhere = browser.get("/page/operating?at=10")
    assert '<span data-at="promise">certified for' in at_target.text
    assert '<span data-at="promise">an estimate, not promised</span>' in elsewhere.text


def test_an_invalid_period_is_named_and_no_failure(browser: Browser) -> None:
    shown = browser.get("/page?since=%3Cscript%3E")
    assert shown.status == 422
    assert "expected 7d, 12h" in shown.words
    assert "<script>" not in shown.text.replace('<script src="/page/script.js" defer>', "")


@pytest.mark.parametrize("since", ["999999w", "0001-01-01T00:00%2B14:00", "1970-01-01"])
def test_a_period_longer_than_there_are_dates_is_shown_from_the_first_row_on(browser: Browser, since: str) -> None:
    for view in VIEWS:
        assert browser.get(f"/page{view}?since={since}").status == 200


@pytest.mark.parametrize("since", ["9999-12-31", "x", "%00", "7d%20"])
def test_from_an_invalid_period_the_links_lead_on(browser: Browser, since: str) -> None:
    shown = browser.get(f"/page/review?since={since}")
    assert shown.status == 422
    for link in re.findall(r'href="(/page[^"]*)"', shown.text):
        assert browser.get(link).status == 200


@pytest.mark.parametrize("query", ["at=nan", "at=inf", "at=-1", "volume=0", "volume=999999999999", "volume=%D9%A3"])
def test_the_operating_point_takes_whatever_an_address_says(browser: Browser, query: str) -> None:
    assert browser.get(f"/page/operating?{query}").status == 200


def test_a_head_is_answered_and_other_methods_are_refused(browser: Browser) -> None:
    assert (browser.send("HEAD", "/page").status, browser.send("HEAD", "/page").text) == (200, "")
    assert [browser.send(method, "/page").status for method in ("OPTIONS", "PUT", "DELETE")] == [405] * 3


# Versions.


def test_an_address_cannot_say_that_a_version_serves(browser: Browser) -> None:
    assert "serves now" not in browser.get("/page/versions?served=everything+is+well.+evil").words


def test_a_folder_whose_name_only_looks_like_a_time_is_listed(home: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(home, tmp_path / "tiny"))
    shutil.copytree(copy / OLD, copy / "99999999T999999Z-00000000")
    assert "99999999T999999Z-00000000" in [row["name"] for row in listed(copy)["rows"]]


def test_what_was_fetched_from_a_url_is_shown_and_not_switched(home: Path, tmp_path: Path) -> None:
    url, cache = f"file://{home}", {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with served(url, tmp_path, MONOKU_LOG="none", **cache) as fetched:
        browser, now = Browser(fetched.port), str(serving(home))
        shown = browser.get("/page/versions")
        assert f"{now} serving" in shown.words
        assert "This service serves what lies at a URL" in shown.words
        assert "Promote…" not in shown.text
        assert browser.get("/page/operating").status == 200
        assert browser.get(f"/page/versions/{now}/serve").status == 422


def test_a_curve_that_is_none_is_named(home: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(resolve(home), tmp_path / OLD))
    for points in ([], [[0.5, float("nan")]], [[0.5, 2]], [[0.5]], "x"):
        (copy / "report.json").write_text(json.dumps({"risk_coverage": {"curve": points}}))
        with pytest.raises(BundleError, match="no readable curve"):
            curve(copy)


def test_a_version_is_promoted_and_rolled_back(browser: Browser, home: Path) -> None:
    now = str(serving(home))
    browser.get(f"/page/versions/{OLD}/serve")
    assert browser.post("/page/serve", {"version": OLD, "seen": now}).status == 303
    assert serving(home) == OLD
    switch(home, now)
    assert f"/page/versions/{OLD}/serve" in browser.get("/page/versions").text  # the way back


def test_the_second_of_two_who_promote_is_told_and_changes_nothing(browser: Browser, home: Path) -> None:
    now = str(serving(home))
    browser.get(f"/page/versions/{OLD}/serve")
    shown = browser.post("/page/serve", {"version": OLD, "seen": BAD})
    assert (shown.status, serving(home)) == (409, now)
    assert f"Somebody else was faster: {BAD} no longer serves, {now} does" in shown.words


def test_a_rejected_version_says_why_and_serves_by_force_alone(browser: Browser, home: Path) -> None:
    shown, now = browser.get(f"/page/versions/{BAD}/serve"), str(serving(home))
    assert "it is <b>worse</b> on the intent 'account'" in html.unescape(shown.text)
    assert "<b>worse" not in shown.text
    refused = browser.post("/page/serve", {"version": BAD, "seen": now})
    assert (refused.status, serving(home)) == (422, now)
    assert browser.post("/page/serve", {"version": BAD, "seen": now, "force": "yes"}).status == 303
    assert serving(home) == BAD
    switch(home, now)


def test_a_card_is_shown_with_its_plots_and_nothing_outside_them_is(browser: Browser, home: Path) -> None:
    version = f"/page/versions/{serving(home)}"
    shown = browser.get(version)
    assert "Certificates" in shown.words
    for plot in re.findall(r'<img src="([^"]+)"', shown.text):
        assert browser.get(plot).headers["Content-Type"].startswith("image/")
    assert browser.get(f"{version}/plots/..%2Fmanifest.json").status == 404
    assert browser.get(f"{version}/plots/none.png").status == 404
    assert browser.get("/page/versions/..%2F..").status == 404


# Review.


def test_hostile_texts_are_shown_as_text(browser: Browser, log: DecisionLog) -> None:
    log.put(decision("h1", text=HOSTILE, source="fallback", accepted=False, confidence=0.01, time=time.time() - 60))
    log.close()
    shown = browser.get("/page/review")
    assert html.escape("<script>alert(1)</script>", quote=True) in shown.text
    assert "<img src=x" not in shown.text
    assert " ".join(HOSTILE.split()[:6]) in shown.words


def test_a_decision_becomes_a_correction_and_answers_the_text(
    browser: Browser, service: Served, log: DecisionLog
) -> None:
    log.put(decision("r1", text="where does my refund hide", intent="account", sampled=True, time=time.time() - 60))
    log.put(answer("r1", text="where does my refund hide", label="payments", sampled=True, time=time.time() - 59))
    log.close()
    assert "suspect: student said account (90%), the teacher payments" in browser.get("/page/review").words
    sent = browser.post("/page/decide", {"of.r1": "payments"})
    assert sent.headers["Location"] == "/page/review?saved=1"
    assert ("r1", "payments") in [(row.request_id, row.intent) for row in log.read_corrections()]
    assert service.post("/classify", {"text": "where does my refund hide"}).json["source"] == "human"
    again = browser.get("/page/review")
    assert 'name="of.r1"' not in again.text
    assert "Decided lately" in again.words
    key = key_of("where does my refund hide")
    browser.post("/page/decide", {f"again.{key}": "account", f"was.{key}": "payments"})  # taken back
    assert service.post("/classify", {"text": "where does my refund hide"}).json["intent"] == "account"


def test_of_two_who_decide_on_one_text_the_second_is_told_and_the_first_word_stays(
    browser: Browser, log: DecisionLog
) -> None:
    log.put(decision("two", text="one text for two people", source="fallback", accepted=False, time=time.time() - 60))
    log.close()
    browser.get("/page/review")
    key, last = key_of("one text for two people"), "/page/review?saved=0&missed=1"
    assert browser.post("/page/decide", {"of.two": "payments"}).headers["Location"] == "/page/review?saved=1"
    assert browser.post("/page/decide", {"of.two": "account"}).headers["Location"] == last
    changed = browser.post("/page/decide", {f"again.{key}": "account", f"was.{key}": "account"})
    assert changed.headers["Location"] == last
    assert [row.intent for row in log.read_corrections() if row.request_id == "two"] == ["payments"]


def test_an_overview_sums_costs_only_where_they_are_shown(home: Path) -> None:
    asked: list[tuple[float, float | None]] = []

    class Counting(DecisionLog):
        def read_costs(self, since: float = 0.0, until: float | None = None) -> Costs:
            asked.append((since, until))
            return super().read_costs(since, until)

    seen = Period(*period("30d", "now", time.time()))
    overview(Counting(home / "decisions.db"), seen, 0.95, None)
    shown = {tuple(seen), *seen.steps(), *seen.days()}
    assert set(asked) <= shown
    assert tuple(seen) in asked


def test_what_is_not_in_the_queue_or_no_intent_is_not_recorded(browser: Browser, log: DecisionLog) -> None:
    before = len(list(log.read_corrections()))
    browser.get("/page/review")
    gone = browser.post("/page/decide", {"of.0123456789": "payments"})
    assert gone.headers["Location"] == "/page/review?saved=0&missed=1"
    assert "decided by somebody else meanwhile" in browser.get(gone.headers["Location"]).words
    assert browser.post("/page/decide", {"of.0123456789": "<b>"}).status == 422
    assert len(list(log.read_corrections())) == before


def test_where_two_disagree_a_persons_word_is_worth_most() -> None:
    fell_back = worth(decision("a", source="fallback", accepted=False, confidence=0.2), None)
    suspect = worth(decision("b"), answer("b", label="account"))
    deferred = worth(decision("c", source="teacher", deferred=True), answer("c"))
    sampled = worth(decision("d", sampled=True), answer("d", sampled=True))
    refused = worth(decision("e", sampled=True), answer("e", label=None, refusal="no", sampled=True))
    ranked = sorted([sampled, deferred, refused, fell_back, suspect], reverse=True)
    assert ranked == [suspect, fell_back, refused, deferred, sampled]


def test_a_log_that_cannot_be_written_hides_the_queue_and_says_why(home: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(home, tmp_path / "tiny"))
    with contextlib.closing(sqlite3.connect(copy / "decisions.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (copy / "decisions.db").open("r+b") as file:
        # A file of a later SQLite, which may be read and not written: root may write any other.
        file.seek(18)
        file.write(b"\x03")
    with served(copy, tmp_path / "service") as readonly:
        browser = Browser(readonly.port)
        for _ in range(2):
            shown = browser.get("/page/review")
            assert "the queue is hidden" in shown.words
            assert "readonly" in shown.words
            assert "<form" not in shown.text
        assert browser.get("/page").status == 200


# Who may write.


def test_a_form_without_the_sessions_token_changes_nothing(browser: Browser, service: Served, home: Path) -> None:
    now = serving(home)
    browser.get(f"/page/versions/{OLD}/serve")
    other = Browser(service.port)
    theirs = re.search(r'name="form_token" value="(\w+)"', other.get(f"/page/versions/{OLD}/serve").text)
    assert theirs
    for token in ("", "x", "é", theirs[1]):
        shown = browser.post("/page/serve", {"version": OLD, "seen": str(now), "form_token": token})
        assert shown.status == 403
        assert "too old, or not the page's own" in shown.words
    fields = {"version": OLD, "seen": str(now)}
    assert browser.post("/page/serve", fields, Sec_Fetch_Site="cross-site").status == 403
    assert browser.post("/page/serve", fields, Content_Type="application/json").status == 415
    assert browser.post("/page/serve", fields, Host="evil.example").status == 403
    assert serving(home) == now


def test_with_a_token_the_page_wants_it_once(tiny_home: Path, tmp_path: Path) -> None:
    with served(tiny_home, tmp_path, MONOKU_TOKEN=TOKEN, MONOKU_LOG="none") as guarded:
        browser = Browser(guarded.port)
        for view in VIEWS:
            assert browser.get(f"/page{view}").headers["Location"] == "/page/login"
        assert browser.get("/page/login").status == browser.get("/page/style.css").status == 200
        assert browser.post("/page/login", {"token": TOKEN + "x"}).status == 403
        entered = browser.post("/page/login", {"token": TOKEN})
        assert {"HttpOnly", "SameSite=Strict"} <= set(entered.headers["Set-Cookie"].split("; "))
        assert TOKEN not in entered.headers["Set-Cookie"]
        assert "Secure" not in entered.headers["Set-Cookie"]
        behind = browser.post("/page/login", {"token": TOKEN}, X_Forwarded_Proto="https")
        assert "Secure" in behind.headers["Set-Cookie"].split("; ")
        assert browser.get("/page/versions").status == browser.get("/docs").status == 200
        assert guarded.get("/version", Cookie=browser.cookie).status == 401  # of the page alone
        assert "keeps no decision log" in browser.get("/page").words
        assert browser.post("/page/logout", {}).status == 303
        assert browser.get("/page").status == 303


def test_the_list_of_endpoints_is_a_page_of_our_own(browser: Browser) -> None:
    shown = browser.get("/docs")
    assert "POST /classify" in shown.words
    assert "one text; with it an `id` may be given" in shown.words
    assert not re.search(r'(?:src|href)="(?!/|#)', shown.text)
    assert "<script" not in shown.text
