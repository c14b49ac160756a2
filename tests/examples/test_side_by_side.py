"""The comparison: what the page says of a mail is what became of it, in each situation."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from examples.conftest import UP, Demo, runs
from servers.process import wait_until

WAYS = ("blocking", "thread", "asyncio", "immediate", "background", "outbox")
SITUATIONS = {
    "well": "All is well",
    "slow": "Slow server",
    "down": "Server down",
    "killed": "Process killed",
}
WAITING = re.compile("waiting|queued|sending|retrying")


def trials(demo: Demo, situation: str) -> dict[str, dict[str, Any]]:
    """What the demo has noted of the ways in a situation."""
    path = demo.folder / "demo" / "trials.json"
    noted = json.loads(path.read_text()) if path.exists() else []
    return {one["way"]: one for one in noted if one["situation"] == situation}


def copies(demo: Demo, address: str) -> int:
    """How many mails the mail server has for an address."""
    received = (demo.folder / "demo" / "mailserver" / "received").glob("*.json")
    return sum(address in json.loads(path.read_text())["recipients"] for path in received)


def cell(page: Page, way: str, situation: str) -> Locator:
    return page.locator(f"#w-{way} td").nth(list(SITUATIONS).index(situation))


def says(page: Page, demo: Demo, situation: str, fates: dict[str, str]) -> dict[str, Any]:
    """Wait until the page shows these fates, and compare each with what the mail server has."""
    for way, fate in fates.items():
        expect(cell(page, way, situation).locator(".chip")).to_have_text(fate)
    expect(page.get_by_role("button", name="Run all six")).to_be_enabled()
    noted = trials(demo, situation)
    there = {way: copies(demo, noted[way]["email"]) for way in fates}
    assert there == {way: int(fate == "arrived") for way, fate in fates.items()}
    return noted


@pytest.fixture
def side_by_side(page: Page) -> Page:
    page.get_by_role("link", name="Side by side", exact=True).click()
    return page


def choose(page: Page, situation: str) -> None:
    page.get_by_role("radio", name=SITUATIONS[situation]).check()


def slide(page: Page, name: str, value: str) -> None:
    page.get_by_role("slider", name=name).fill(value)


def send(page: Page, way: str) -> None:
    page.get_by_role("button", name=f"Send this way ({way})").click()


# -- in a browser ------------------------------------------------------------------------------------


def test_all_is_well_for_all_but_the_task_that_dies_with_its_view(
    side_by_side: Page, demo: Demo
) -> None:
    side_by_side.get_by_role("button", name="Run all six").click()
    says(side_by_side, demo, "well", dict.fromkeys(WAYS, "arrived") | {"asyncio": "lost"})
    expect(side_by_side.locator("#spoken")).to_have_text(
        re.compile("^All is well: (5 arrived, 1 lost|1 lost, 5 arrived).$")
    )


def answered(demo: Demo, way: str, situation: str) -> dict[str, Any]:
    """What is noted of a way as soon as its view has answered."""
    wait_until(
        lambda: trials(demo, situation).get(way, {}).get("took") is not None, f"answer of {way}"
    )
    return trials(demo, situation)[way]


def test_a_slow_server_is_waited_for_where_the_view_sends(side_by_side: Page, demo: Demo) -> None:
    choose(side_by_side, "slow")
    slide(side_by_side, "For each mail it takes", "0.5")
    for way, name in (("blocking", "Blocking"), ("immediate", "Immediate")):
        send(side_by_side, name)
        noted = answered(demo, way, "slow")
        assert (noted["status"], copies(demo, noted["email"])) == (200, 1)
        says(side_by_side, demo, "slow", {way: "arrived"})


def test_elsewhere_the_view_has_answered_before_a_slow_server_has_the_mail(
    side_by_side: Page, demo: Demo
) -> None:
    for way, name in (
        ("thread", "Thread"),
        ("asyncio", "asyncio task"),
        ("background", "Background"),
        ("outbox", "Outbox"),
    ):
        choose(side_by_side, "slow")
        slide(side_by_side, "For each mail it takes", "10")
        send(side_by_side, name)
        noted = answered(demo, way, "slow")
        assert (noted["status"], copies(demo, noted["email"])) == (200, 0)
        assert demo.ask("mail-server", {"mode": "ok"})[0] == 303
        says(side_by_side, demo, "slow", {way: "lost" if way == "asyncio" else "arrived"})


def test_a_server_that_is_down_fails_or_loses_or_only_delays(
    side_by_side: Page, demo: Demo
) -> None:
    choose(side_by_side, "down")
    slide(side_by_side, "It is down for", "30")
    side_by_side.get_by_role("button", name="Run all six").click()
    wait_until(
        lambda: (
            [one["fate"] for one in trials(demo, "down").values()].count("lost") == 2
            and trials(demo, "down")["outbox"]["attempts"] > 0
        ),
        "first try of each",
    )
    with side_by_side.expect_response(re.compile("/mail-server$")):
        side_by_side.get_by_role("button", name="Bring it back now").click()
    fates = {
        "blocking": "failed",
        "thread": "lost",
        "asyncio": "lost",
        "immediate": "failed",
        "background": "arrived",
        "outbox": "arrived",
    }
    noted = says(side_by_side, demo, "down", fates)
    assert [noted[way]["status"] for way in WAYS] == [500, 200, 200, 500, 200, 200]
    assert noted["outbox"]["attempts"] > 1
    expect(cell(side_by_side, "blocking", "down")).to_contain_text("ConnectionRefusedError")
    expect(cell(side_by_side, "thread", "down")).to_contain_text("ConnectionRefusedError")


def test_kill_9_loses_what_a_thread_had_and_not_what_the_outbox_has(
    side_by_side: Page, demo: Demo
) -> None:
    choose(side_by_side, "killed")
    for way, name, fate in (("thread", "Thread", "lost"), ("outbox", "Outbox", "arrived")):
        send(side_by_side, name)
        noted = says(side_by_side, demo, "killed", {way: fate})[way]
        assert (noted["status"], noted["killed"] > noted["took"]) == (200, True)
        expect(side_by_side.locator("#spoken")).to_have_text(re.compile("^Process killed: "))
    expect(cell(side_by_side, "thread", "killed")).to_contain_text("it died with its process")
    expect(cell(side_by_side, "outbox", "killed")).to_contain_text("by the next process")
    killed = [pid for pid in demo.children()[-2:] if not runs(pid)]
    assert len(killed) == 2


def test_one_run_at_a_time(side_by_side: Page, demo: Demo) -> None:
    choose(side_by_side, "slow")
    slide(side_by_side, "For each mail it takes", "1.5")
    send(side_by_side, "Outbox")
    expect(cell(side_by_side, "outbox", "slow").locator(".chip")).to_have_text(WAITING)
    expect(cell(side_by_side, "outbox", "slow")).to_contain_text("view")
    button = side_by_side.get_by_role("button", name="Run all six")
    expect(button).to_have_attribute("aria-disabled", "true")
    assert demo.ask("ways/", FORM)[0] == 409
    says(side_by_side, demo, "slow", {"outbox": "arrived"})


# -- over HTTP ---------------------------------------------------------------------------------------

FORM = {"way": "outbox", "situation": "killed", "slow_seconds": "1", "down_seconds": "1"}


@pytest.mark.parametrize(
    "wrong",
    [{"way": "pigeon"}, {"situation": "flood"}, {"slow_seconds": "-1"}, {"down_seconds": "nan"}],
)
def test_what_no_form_sends_is_refused(demo: Demo, wrong: dict[str, str]) -> None:
    assert demo.ask("ways/", FORM | wrong)[0] == 400


def test_no_other_site_can_have_a_process_killed(demo: Demo) -> None:
    assert demo.ask("ways/", FORM, Sec_Fetch_Site="cross-site")[0] == 403
    assert demo.ask("ways/", FORM, Origin="http://evil.example")[0] == 403


@pytest.mark.parametrize("app", ["before", "after"])
def test_no_browser_is_answered_by_the_compared_apps(demo: Demo, app: str) -> None:
    log = demo.folder / "demo" / "logs" / f"{app}.log"
    wait_until(lambda: "Running on" in log.read_text(), f"start of {app}.py")
    url = re.findall(r"Running on (http://[\d.:]+)", log.read_text())[-1]
    there = replace(demo, url=url)
    wait_until(lambda: there.ask("/health")[0] == 200, "answer")
    assert there.ask("/health", Sec_Fetch_Site="cross-site")[0] == 403


# -- without processes -------------------------------------------------------------------------------


@pytest.fixture
def trials_module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(UP.parent)
    import trials

    return trials


@pytest.mark.parametrize(
    ("status", "held", "arrived", "fate"),
    [
        (200, "", [5.0], "arrived"),
        (200, "sent", [5.0], "arrived"),
        (200, "", [5.0, 6.0], "arrived twice"),
        (500, "", [5.0], "arrived"),
        (200, None, [5.0], "arrived"),
        (500, "", [], "failed"),
        (200, "", [], "lost"),
        (200, None, [], "restarting"),
        (200, "retrying", [], "retrying"),
        (200, "dead", [], "dead"),
    ],
)
def test_a_fate_follows_from_what_is_held_and_what_arrived(
    trials_module: Any, status: int, held: str | None, arrived: list[float], fate: str
) -> None:
    trial = trials_module.Trial("outbox", "well", "a@example.org", 4.0, status=status)
    trial = replace(trial, fate="failed" if status == 500 else "waiting")
    process = None if held is None else {"state": held, "said": "", "attempts": 1}
    assert trials_module.judge(trial, process, arrived).fate == fate


def test_results_outlive_the_process(trials_module: Any, tmp_path: Path) -> None:
    trial = trials_module.Trial("thread", "killed", "a@example.org", 1.0, took=0.1, fate="lost")
    trials_module.Book(tmp_path / "trials.json").write(trial)
    assert list(trials_module.Book(tmp_path / "trials.json")) == [trial]


def test_the_code_that_is_shown_is_the_code_that_runs(trials_module: Any) -> None:
    for way in trials_module.WAYS:
        source = (UP.parent / f"{way.app}.py").read_text()
        shown = "\n".join(line for _, line in way.code)
        assert shown.startswith(f'@app.post("/{way.key}")')
        assert all(line in source for line in shown.splitlines())
        assert any(sends for sends, _ in way.code)
