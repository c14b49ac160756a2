"""Flask-AppBuilder, unchanged: it calls ``Mail(current_app)`` for each mail, inside the request."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from libraries.deployment import Deployment, deploy, link
from libraries.faces import INSTALLED, ORIGINAL

PASSWORD = "correct horse"


@pytest.fixture(scope="module", params=[ORIGINAL, INSTALLED])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp(request.param)
    with deploy("appbuilder", folder, FACE=request.param) as site:
        yield site


def register(site: Deployment, name: str) -> str:
    """Somebody who registers; what the next page says."""
    page = site.browser().submit(
        "/register/form",
        username=name,
        first_name=name.title(),
        last_name="Lovelace",
        email=f"{name}@example.org",
        password=PASSWORD,
        conf_password=PASSWORD,
    )
    return page.text


def test_the_link_of_the_registration_mail_activates_the_user(site: Deployment) -> None:
    assert "Registration sent to your email" in register(site, "ada")
    mail = site.mail("ada@example.org")
    assert mail["Subject"] == "Account activation"
    assert "Your user is activated" in site.browser().get(link(mail, "html")).text
    page = site.browser().submit("/login/", username="ada", password=PASSWORD)
    assert "Ada Lovelace" in page.text


def test_a_second_mail_makes_no_second_worker_and_no_second_connection(site: Deployment) -> None:
    census = []
    for name in ("bob", "cyd", "dot", "eve"):
        register(site, name)
        site.mail(f"{name}@example.org")
        census.append(json.loads(site.browser().get("/census").text))
    assert census[1:] == [census[0]] * 3
    assert len(set(census[0]["threads"])) == len(census[0]["threads"])
