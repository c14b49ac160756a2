"""Each payload as what a template is rendered with, and as the template's own name and language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from jinja2 import DictLoader

from flask_outbox import Message
from flask_outbox._render import render
from flask_outbox.errors import MessageError
from flask_outbox.mail.mime import compose
from flask_outbox.mail.seal import SealDefaults, seal

from .corpus import corpus
from .oracle import Asked, findings
from .places import BASE, FILE, ID

CORPUS = corpus(ID)

TEMPLATES = {
    "welcome.txt": "{% block subject %}Hello {{ name }}{% endblock %}\nHello {{ name }}\n",
    "welcome.html": "<title>{% block subject %}{{ name }}{% endblock %}</title><p title='{{ name }}'>{{ name }}</p>",
    "rich.html": "<title>{% block subject %}{{ name }}{% endblock %}</title><p>{{ name|safe }}</p>",
    "bare.txt": "{% block subject %}{{ name }}{% endblock %}",
}


@pytest.fixture
def app() -> Iterator[Flask]:
    app = Flask(__name__)
    app.jinja_loader = DictLoader(TEMPLATES)
    with app.app_context():
        yield app


def smuggled(app: Flask, **fields: Any) -> list[str]:
    """What got through a rendered message; nothing where it was refused."""
    message = Message(**BASE | {"subject": "", "body": None, "html": None} | fields)
    message.attach(**FILE)
    try:
        render(app, message)
        letter = seal(message, id=ID, now=1_751_366_357.0, defaults=SealDefaults())
    except MessageError as error:
        if error.field not in ("subject", "body", "html", "template", "locale"):
            raise
        return []
    return findings(compose(letter), Asked())


@pytest.mark.parametrize("template", ["welcome", "rich", "bare"])
def test_nothing_is_smuggled_in_by_a_context(app: Flask, template: str) -> None:
    found = {
        name: smuggled(app, template=template, context={"name": payload})
        for name, payload in CORPUS.items()
    }
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize("field", ["template", "locale"])
def test_nothing_is_smuggled_in_by_a_name(app: Flask, field: str) -> None:
    given = {"template": "welcome", "context": {"name": "Ann"}}
    for payload in CORPUS.values():
        assert smuggled(app, **given | {field: payload}) == []


def test_markup_in_a_context_stays_text(app: Flask) -> None:
    message = Message(template="welcome", context={"name": "'><script>alert(1)</script>"})
    render(app, message)
    assert message.html is not None
    assert "<script>" not in message.html
    assert message.subject == "Hello '><script>alert(1)</script>"
