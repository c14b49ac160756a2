"""The demo as a newcomer meets it: ``up.py`` and its page, over HTTP and in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from examples.conftest import UP, Demo, runs, up
from servers.process import wait_until

#: What the page may hold under its Content-Security-Policy: no inline script, handler or style.
INLINE = re.compile(r"<script(?![^>]* src=)|<style|<[^>]*\s(style|on\w+)=", re.IGNORECASE)


SIGN_UP = {"name": "Ada", "email": "ada@example.org", "engine": "outbox", "copies": "1"}


# -- over HTTP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "ways/"])
def test_a_page_needs_nothing_from_elsewhere_and_nothing_inline(demo: Demo, path: str) -> None:
    status, text, headers = demo.ask(path)
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
    assert INLINE.search(text) is None
    assert re.findall(r"(?:src|href|action)=\"(?!/|#|\?)[^\"]*", text) == []


def test_a_sign_up_without_a_browser_shows_how_long_its_view_took(demo: Demo) -> None:
    status, _, headers = demo.ask("", SIGN_UP)
    assert status == 303
    page = demo.ask(headers["Location"].partition("#")[0].lstrip("/"))[1]
    assert re.search(r"The view took.*<b>[\d.,]+</b> ms", page, re.DOTALL)


@pytest.mark.parametrize(
    ("field", "value"), [("name", " "), ("email", ""), ("email", "nobody"), ("email", "a@b@c")]
)
def test_what_is_wrong_in_the_form_is_said_at_its_field(demo: Demo, field: str, value: str) -> None:
    status, page, _ = demo.ask("", SIGN_UP | {field: value})
    assert status == 422
    assert f'aria-describedby="{field}-wrong"' in page
    assert f'id="{field}-wrong"' in page


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("", SIGN_UP | {"copies": "1000"}),
        ("", SIGN_UP | {"engine": "steam"}),
        ("mail-server", {"mode": "rude"}),
        ("mail-server", {"mode": "slow", "delay": "61"}),
        ("worker", {"do": "dance"}),
    ],
)
def test_what_no_form_of_the_page_sends_is_refused(
    demo: Demo, path: str, form: dict[str, str]
) -> None:
    assert demo.ask(path, form)[0] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 303),
    ],
)
def test_only_the_page_itself_may_post(demo: Demo, headers: dict[str, str], status: int) -> None:
    assert demo.ask("mail-server", {"mode": "ok"}, **headers)[0] == status


def test_an_unknown_message_is_not_found(demo: Demo) -> None:
    assert demo.ask("messages/" + 32 * "0")[0] == 404


def test_a_second_demo_in_the_same_folder_says_that_there_is_one(demo: Demo) -> None:
    again = subprocess.run(
        [sys.executable, str(UP), "--dir", str(demo.folder / "demo")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert again.stderr == f"The demo is already running in {demo.folder / 'demo'}.\n"


# -- in a browser ------------------------------------------------------------------------------------


def sign_up(page: Page, name: str, *, copies: str = "1", engine: str = "Outbox") -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("E-mail").fill("ada@example.org")
    page.get_by_role("radio", name=engine).check()
    page.get_by_role("radio", name=copies, exact=True).check()
    page.get_by_role("button", name="Sign up").click()


def choose(page: Page, mode: str) -> None:
    """Set what the mail server does, and wait until it is set."""
    with page.expect_response(re.compile("/mail-server$")):
        page.get_by_role("radio", name=mode).check()


def test_a_mail_is_seen_to_arrive(page: Page) -> None:
    sign_up(page, "Ada")
    answer = page.locator("#answer")
    expect(answer.get_by_role("heading")).to_have_text("The view took")
    expect(answer).to_contain_text("The mail was there")
    row = page.locator(".row", has_text="Welcome, Ada").first
    expect(row).to_contain_text("sent")
    expect(row).to_contain_text("1 attempt 250 2.0.0 Kept as")
    received = page.locator("details", has_text="Welcome, Ada").first
    received.locator("summary").click()
    expect(received.locator("pre")).to_contain_text("Hello Ada")


def test_a_message_unfolds_in_place_and_has_a_page_of_its_own(page: Page) -> None:
    sign_up(page, "Hedy")
    row = page.locator(".row", has_text="Welcome, Hedy")
    expect(row).to_contain_text("sent")
    row.click()
    expect(row).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".history li b")).to_have_text(
        ["Stored in the outbox", "The mail server has it", "Attempt 1: accepted"]
    )
    page.get_by_role("link", name="Page of this message").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Welcome, Hedy")


def test_mail_that_is_turned_away_is_tried_again_by_itself(page: Page) -> None:
    choose(page, "Greylist")
    sign_up(page, "Grace")
    row = page.locator(".row", has_text="Welcome, Grace")
    expect(row).to_contain_text("retrying")
    expect(row).to_contain_text("2 attempts 250 2.0.0 Kept as")


def test_a_refusal_is_an_error_at_once_or_a_dead_message(page: Page) -> None:
    choose(page, "Refuse")
    sign_up(page, "Alan", engine="Immediate")
    expect(page.locator("#answer .note")).to_contain_text("550 5.1.1 There is no such mailbox")
    sign_up(page, "Alan")
    row = page.locator(".row", has_text="Welcome, Alan")
    expect(row).to_contain_text("dead")
    expect(row).to_contain_text("550 5.1.1 There is no such mailbox")


def test_mail_sent_while_the_worker_is_dead_arrives_when_it_is_back(page: Page) -> None:
    page.get_by_role("button", name="Kill it").click()
    expect(page.locator("#worker")).to_contain_text("Killed")
    sign_up(page, "Rosalind", copies="20")
    expect(page.locator("#answer")).to_contain_text("0 of 20 mails are at the mail server")
    expect(page.locator("#spoken")).to_have_text(
        "The worker is down. The mail waits in the outbox."
    )
    page.get_by_role("button", name="Start it now").click()
    expect(page.locator("#worker")).to_contain_text("Running")
    expect(page.locator("#answer")).to_contain_text("All 20 mails were there")


def test_without_javascript_the_forms_work(chromium: Browser, demo: Demo) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(demo.url)
    page.get_by_role("radio", name="Normal").check()
    page.get_by_role("button", name="Apply").click()
    sign_up(page, "Margaret")
    expect(page.locator("#answer")).to_contain_text("The view took")
    context.close()


@pytest.mark.parametrize("path", ["", "ways/", "messages/"])
def test_a_phone_shows_everything_without_scrolling_sideways(page: Page, path: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(page.url + path)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


# -- its end -----------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_kill_9_ends_everything(tmp_path: Path) -> None:
    with up(tmp_path) as demo:
        demo.process.kill()
        wait_until(lambda: not any(map(runs, demo.children())), "end of the children")


def test_a_child_that_cannot_start_is_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "outbox.sqlite").mkdir()
    done = subprocess.run(
        [sys.executable, str(UP), "--dir", str(tmp_path), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.match(
        r"The (worker ended by itself|web app does not work)\b.* The end of ", done.stderr
    )
    assert "outbox.sqlite is not a file" in done.stderr
