"""Flask-Security-Too, unchanged, by real SMTP: on Flask-Mail, on its name taken over, and beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from libraries.deployment import Browser, Deployment, deploy, link, run_tests
from libraries.faces import FOREIGN, INSTALLED, ORIGINAL

PASSWORD = "correct horse"
NEW_PASSWORD = "battery staple"
FACES = [ORIGINAL, INSTALLED, FOREIGN]


@pytest.fixture(scope="module", params=FACES)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with deploy("security", folder, FACE=request.param) as site:
        yield site


def register(site: Deployment, address: str) -> None:
    site.browser().submit("/register", email=address, password=PASSWORD, password_confirm=PASSWORD)


def confirmed(site: Deployment, address: str) -> Browser:
    """The browser of somebody who followed the link in the first mail."""
    register(site, address)
    browser = site.browser()
    browser.get(link(site.mail(address)))
    return browser


def sign_in(browser: Browser, address: str, password: str) -> str:
    """Where that leads."""
    return browser.submit("/login", email=address, password=password).path


def test_the_link_of_the_registration_mail_confirms_the_address(site: Deployment) -> None:
    register(site, "ada@example.org")
    mail = site.mail("ada@example.org")
    assert (mail["Subject"], mail["From"]) == ("Welcome", "app@example.org")
    assert link(mail) == link(mail, "html")
    assert sign_in(site.browser(), "ada@example.org", PASSWORD) == "/login"
    assert "has been confirmed" in site.browser().get(link(mail)).text
    assert sign_in(site.browser(), "ada@example.org", PASSWORD) == "/"


def test_the_link_of_the_reset_mail_sets_a_new_password(site: Deployment) -> None:
    browser = confirmed(site, "bob@example.org")
    browser.submit("/reset", email="bob@example.org")
    instructions = site.mail("bob@example.org", 2)
    assert instructions["Subject"] == "Password reset instructions"
    browser.submit(link(instructions), password=NEW_PASSWORD, password_confirm=NEW_PASSWORD)
    assert site.mail("bob@example.org", 3)["Subject"] == "Your password has been reset"
    assert sign_in(site.browser(), "bob@example.org", NEW_PASSWORD) == "/"


def test_a_changed_password_is_announced(site: Deployment) -> None:
    browser = confirmed(site, "cyd@example.org")
    sign_in(browser, "cyd@example.org", PASSWORD)
    browser.submit(
        "/change",
        password=PASSWORD,
        new_password=NEW_PASSWORD,
        new_password_confirm=NEW_PASSWORD,
    )
    assert site.mail("cyd@example.org", 2)["Subject"] == "Your password has been changed"


def test_the_link_to_sign_in_needs_no_password(site: Deployment) -> None:
    browser = confirmed(site, "dot@example.org")
    hidden = browser.get("/us-signin").csrf
    browser.post(
        "/us-signin/send-code", identity="dot@example.org", chosen_method="email", **hidden
    )
    page = browser.get(link(site.mail("dot@example.org", 2)))
    assert page.path == "/"
    assert browser.get("/change").path == "/change"  # only for who is signed in


@pytest.mark.parametrize("face", FACES)
def test_its_own_way_of_testing_mails_goes_on_working(face: str, tmp_path: Path) -> None:
    run_tests("security_in_tests.py", tmp_path, FACE=face)
