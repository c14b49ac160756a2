"""Templates rendered into a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, template_rendered
from jinja2 import StrictUndefined, UndefinedError
from jinja2.exceptions import TemplateNotFound

from flask_outbox import Mail
from flask_outbox import Message as PublicMessage
from flask_outbox._render import render
from flask_outbox.errors import MessageError
from flask_outbox.mail.message import Message


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """An application whose templates a test writes."""
    return Flask(__name__, root_path=str(tmp_path))


def write(app: Flask, **templates: str) -> None:
    """Templates by their names, in which ``_`` stands for the dot, in the folder ``mail``."""
    folder = Path(app.root_path, "templates", "mail")
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in templates.items():
        (folder / ".".join(name.rsplit("_", 1))).write_text(source)


def rendered(app: Flask, template: str = "mail/welcome", **fields: Any) -> Message:
    message = Message(template=template, **fields)
    with app.app_context():
        render(app, message)
    return message


def test_the_txt_gives_the_body_and_the_html_the_html(app: Flask) -> None:
    write(app, welcome_txt="Hello {{ name }}\n", welcome_html="<p>Hello {{ name }}</p>\n")
    message = rendered(app, context={"name": "Ada"})
    assert (message.body, message.html) == ("Hello Ada", "<p>Hello Ada</p>")


def test_only_html_is_escaped(app: Flask) -> None:
    write(app, welcome_txt="{{ name }}", welcome_html="{{ name }}")
    message = rendered(app, context={"name": "<A & B>"})
    assert (message.body, message.html) == ("<A & B>", "&lt;A &amp; B&gt;")


@pytest.mark.parametrize(
    ("suffix", "body", "html"), [("txt", "Hello", None), ("html", None, "Hello")]
)
def test_one_of_the_two_is_enough(
    app: Flask, suffix: str, body: str | None, html: str | None
) -> None:
    write(app, **{f"welcome_{suffix}": "Hello"})
    message = rendered(app)
    assert (message.body, message.html) == (body, html)


def test_a_template_of_a_blueprint_is_found(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "order.txt").write_text("Ordered")
    app.register_blueprint(Blueprint("shop", __name__, template_folder=str(tmp_path / "shop")))
    assert rendered(app, "order").body == "Ordered"


# -- the subject -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["txt", "html"])
def test_the_subject_block_at_the_head_is_no_part_of_the_text(app: Flask, suffix: str) -> None:
    source = "{% block subject %}Hi, {{ name }}{% endblock %}\n\nHello"
    write(app, **{f"welcome_{suffix}": source})
    message = rendered(app, context={"name": "Tom & Ada"})
    assert message.subject == "Hi, Tom & Ada"
    assert (message.body or message.html) == "Hello"


def test_a_subject_block_in_the_title_is_shown_there_too(app: Flask) -> None:
    write(app, welcome_html="<title>{% block subject %}A & {{ '<B>' }}{% endblock %}</title>")
    message = rendered(app)
    assert (message.subject, message.html) == ("A & <B>", "<title>A & &lt;B&gt;</title>")


def test_the_txt_has_the_first_word_on_the_subject(app: Flask) -> None:
    source = "{% block subject %}EDITION{% endblock %}"
    write(
        app,
        welcome_txt=source.replace("EDITION", "plain"),
        welcome_html=source.replace("EDITION", "rich"),
    )
    assert rendered(app).subject == "plain"


def test_an_empty_subject_block_leaves_it_to_the_html(app: Flask) -> None:
    write(
        app,
        welcome_txt="{% block subject %} {% endblock %}Hello",
        welcome_html="{% block subject %}Hi{% endblock %}",
    )
    assert rendered(app).subject == "Hi"


def test_the_subject_of_a_layout_can_be_extended(app: Flask) -> None:
    write(
        app,
        base_txt="{% block subject %}[Shop]{% endblock %}\n{% block text %}{% endblock %}\n-- \nShop",
        welcome_txt="{% extends 'mail/base.txt' %}{% set who = 'Ada' %}"
        "{% block subject %}{{ super() }} Hi {{ who }}{% endblock %}{% block text %}Hello{% endblock %}",
    )
    message = rendered(app)
    assert (message.subject, message.body) == ("[Shop] Hi Ada", "Hello\n-- \nShop")


def test_a_layout_need_not_know_of_the_subject(app: Flask) -> None:
    write(
        app,
        base_html="<p>{% block text %}{% endblock %}</p>",
        welcome_html="{% extends 'mail/base.html' %}{% set who = 'Ada' %}"
        "{% block subject %}Hi {{ who }}{% endblock %}{% block text %}Hello{% endblock %}",
    )
    message = rendered(app)
    assert (message.subject, message.html) == ("Hi Ada", "<p>Hello</p>")


def test_the_subject_can_be_repeated_in_the_text(app: Flask) -> None:
    write(app, welcome_txt="{% block subject %}Hi{% endblock %}\nAbout: {{ self.subject() }}")
    message = rendered(app)
    assert (message.subject, message.body) == ("Hi", "About: Hi")


@pytest.mark.parametrize("breaks", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\t"])
def test_a_subject_is_folded_to_one_line(app: Flask, breaks: str) -> None:
    write(app, welcome_txt="{% block subject %}\n  Hi,\n  {{ name }}\n{% endblock %}")
    message = rendered(app, context={"name": f"Ada{breaks}Bcc: x@example.org"})
    assert message.subject == "Hi, Ada Bcc: x@example.org"


def test_without_a_block_there_is_no_subject(app: Flask) -> None:
    write(app, welcome_txt="Hello", welcome_html="Hello")
    assert rendered(app).subject == ""


# -- what the message says itself ------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["subject", "body", "html"])
def test_what_the_message_was_given_wins(app: Flask, field: str) -> None:
    source = "{% block subject %}theirs{% endblock %}theirs"
    write(app, welcome_txt=source, welcome_html=source)
    message = rendered(app, **{field: "mine"})
    fields = {name: getattr(message, name) for name in ("subject", "body", "html")}
    assert fields == {"subject": "theirs", "body": "theirs", "html": "theirs"} | {field: "mine"}


def test_a_message_with_another_context_is_rendered_anew(app: Flask) -> None:
    write(
        app,
        welcome_txt="{% block subject %}Hi {{ name }}{% endblock %}{{ name }}",
        welcome_html="{{ name }}",
    )
    message = rendered(app, context={"name": "Ada"})
    message.context = {"name": "Bob"}
    with app.app_context():
        render(app, message)
    assert (message.subject, message.body, message.html) == ("Hi Bob", "Bob", "Bob")


def test_what_was_changed_after_the_rendering_stays(app: Flask) -> None:
    write(app, welcome_txt="Hello")
    message = rendered(app)
    message.body = "Hello, and goodbye"
    with app.app_context():
        render(app, message)
    assert message.body == "Hello, and goodbye"


def test_another_template_clears_what_it_does_not_give(app: Flask) -> None:
    write(app, welcome_txt="{% block subject %}Hi{% endblock %}Hello", bye_html="Bye")
    message = rendered(app)
    message.template = "mail/bye"
    with app.app_context():
        render(app, message)
    assert (message.subject, message.body, message.html) == ("", None, "Bye")


def test_an_error_in_one_of_the_two_leaves_the_message_as_it_was(app: Flask) -> None:
    write(app, welcome_txt="Hello", welcome_html="{{ 1 / 0 }}")
    message = Message(template="mail/welcome")
    with app.app_context(), pytest.raises(ZeroDivisionError):
        render(app, message)
    assert (message.body, message.rendered) == (None, None)


# -- as Flask renders ------------------------------------------------------------------------------------------


def test_context_processors_run_and_the_context_wins_over_them(app: Flask) -> None:
    app.context_processor(lambda: {"shop": "Shop", "name": "nobody"})
    write(app, welcome_txt="{{ shop }} {{ name }} {{ config.TESTING }}")
    assert rendered(app, context={"name": "Ada"}).body == "Shop Ada False"


def test_within_a_request_the_templates_see_it(app: Flask) -> None:
    write(app, welcome_txt="{{ request.path }}")
    message = Message(template="mail/welcome")
    with app.test_request_context("/signup"):
        render(app, message)
    assert message.body == "/signup"


def test_without_any_context_the_application_is_pushed(app: Flask) -> None:
    write(app, welcome_txt="{{ config.NAME }}")
    app.config["NAME"] = "Shop"
    message = Message(template="mail/welcome")
    render(app, message)
    assert message.body == "Shop"


def test_flasks_signal_tells_of_each_template(app: Flask) -> None:
    write(app, welcome_txt="Hello", welcome_html="Hello")
    heard: list[str] = []

    def hear(sender: Flask, template: Any, context: dict[str, Any], **extra: object) -> None:
        heard.append(template.name)

    with template_rendered.connected_to(hear, app):
        rendered(app)
    assert heard == ["mail/welcome.txt", "mail/welcome.html"]


def test_an_asynchronous_environment_renders_too(app: Flask) -> None:
    app.jinja_options = {"enable_async": True}
    write(app, welcome_txt="{% block subject %}Hi {{ name }}{% endblock %}\nHello")
    message = rendered(app, context={"name": "Ada"})
    assert (message.subject, message.body) == ("Hi Ada", "Hello")


def test_a_variable_that_is_missing_obeys_the_environment(app: Flask) -> None:
    write(app, welcome_txt="Hello {{ nobody }}.")
    assert rendered(app).body == "Hello ."
    app.jinja_env.undefined = StrictUndefined
    write(app, strict_txt="Hello {{ nobody }}.")
    with pytest.raises(UndefinedError, match="nobody"):
        rendered(app, "mail/strict")


def test_an_error_shows_the_line_of_the_template(app: Flask) -> None:
    write(app, welcome_txt="Hello\n\n{{ 1 / 0 }}\n")
    with pytest.raises(ZeroDivisionError) as caught:
        rendered(app)
    last = caught.traceback[-1]
    assert (Path(last.path).name, last.lineno + 1) == ("welcome.txt", 3)


def test_an_url_outside_a_request_without_server_name_is_an_error_with_the_cure(
    app: Flask,
) -> None:
    app.add_url_rule("/confirm", "confirm")
    write(app, welcome_txt="{{ url_for('confirm', _external=True) }}")
    with pytest.raises(RuntimeError, match="SERVER_NAME"):
        rendered(app)


def test_with_server_name_an_url_is_whole(app: Flask) -> None:
    app.config.update(SERVER_NAME="shop.example.org", PREFERRED_URL_SCHEME="https")
    app.add_url_rule("/confirm", "confirm")
    write(app, welcome_txt="{{ url_for('confirm') }}")
    assert rendered(app).body == "https://shop.example.org/confirm"


# -- what is not there -----------------------------------------------------------------------------------------


def test_a_template_that_is_not_there_names_both_files_and_the_folders(
    app: Flask, tmp_path: Path
) -> None:
    app.register_blueprint(Blueprint("shop", __name__, template_folder=str(tmp_path / "shop")))
    with pytest.raises(MessageError) as caught:
        rendered(app, "mail/welcom")
    assert caught.value.field == "template"
    for part in ("mail/welcom.txt", "mail/welcom.html", str(tmp_path / "templates"), "shop"):
        assert part in str(caught.value)


@pytest.mark.parametrize("suffix", ["txt", "html"])
def test_a_name_with_its_ending_is_answered_with_the_cure(app: Flask, suffix: str) -> None:
    write(app, welcome_txt="Hello", welcome_html="Hello")
    with pytest.raises(MessageError, match="template='mail/welcome'"):
        rendered(app, f"mail/welcome.{suffix}")


def test_a_layout_that_is_not_there_is_jinjas_own_error(app: Flask) -> None:
    write(app, welcome_txt="{% extends 'mail/base.txt' %}", welcome_html="Hello")
    with pytest.raises(TemplateNotFound, match=r"mail/base\.txt"):
        rendered(app)


def test_a_name_cannot_leave_the_folders(app: Flask, tmp_path: Path) -> None:
    write(app, welcome_txt="Hello")
    (tmp_path / "secret.txt").write_text("secret")
    with pytest.raises(MessageError, match="neither"):
        rendered(app, "../secret")


# -- sent ------------------------------------------------------------------------------------------------------


def test_a_message_is_rendered_when_it_is_sent(app: Flask) -> None:
    write(app, welcome_txt="{% block subject %}Hi {{ name }}{% endblock %}\nHello {{ name }}")
    app.config.update(TESTING=True, MAIL_DEFAULT_SENDER="me@example.org")
    mail = Mail(app)
    message = PublicMessage(template="mail/welcome", recipients=["a@example.org"])
    with app.app_context(), mail.record_messages() as outbox:
        for name in ("Ada", "Bob"):
            message.context = {"name": name}
            mail.send(message)
            assert (outbox[-1].subject, outbox[-1].body) == (f"Hi {name}", f"Hello {name}")


def test_what_is_wrong_with_a_template_is_said_by_send(app: Flask) -> None:
    app.config.update(TESTING=True, MAIL_DEFAULT_SENDER="me@example.org")
    mail = Mail(app)
    with app.app_context(), pytest.raises(MessageError, match="neither"):
        mail.send(PublicMessage(template="mail/welcome", recipients=["a@example.org"]))


# -- languages -------------------------------------------------------------------------------------------------


@pytest.fixture
def babel(app: Flask) -> Flask:
    """The application with Flask-Babel, English by default."""
    flask_babel = pytest.importorskip("flask_babel")
    flask_babel.Babel(app, default_locale="en")
    return app


@pytest.mark.parametrize("locale", ["de", "de_DE", "de-DE"])
def test_a_message_is_rendered_in_its_language(babel: Flask, locale: str) -> None:
    write(babel, welcome_txt="{{ 1234.5|decimalformat }}")
    assert rendered(babel, locale=locale).body == "1.234,5"


def test_without_a_locale_it_is_the_current_language(babel: Flask) -> None:
    write(babel, welcome_txt="{{ 1234.5|decimalformat }}")
    assert rendered(babel).body == "1,234.5"


def test_lazy_strings_are_read_in_the_language_of_the_message(babel: Flask) -> None:
    from flask_babel import format_decimal, get_locale
    from flask_babel.speaklater import LazyString

    write(babel, welcome_txt="{{ price }}")
    message = rendered(
        babel,
        subject=LazyString(lambda: str(get_locale())),
        context={"price": LazyString(format_decimal, 1234.5)},
        locale="de",
    )
    assert (message.subject, message.body) == ("de", "1.234,5")


def test_the_language_of_a_message_needs_no_template(babel: Flask) -> None:
    from flask_babel import get_locale
    from flask_babel.speaklater import LazyString

    message = Message(body=LazyString(lambda: str(get_locale())), locale="de")
    render(babel, message)
    assert message.body == "de"


def test_the_language_ends_with_the_rendering(babel: Flask) -> None:
    from flask_babel import get_locale

    write(babel, welcome_txt="Hello")
    with babel.app_context():
        render(babel, Message(template="mail/welcome", locale="de"))
        assert str(get_locale()) == "en"


@pytest.mark.parametrize("locale", ["xx", "not a language", "de__"])
def test_a_language_that_does_not_exist_is_named(babel: Flask, locale: str) -> None:
    write(babel, welcome_txt="Hello")
    with pytest.raises(MessageError, match="not a language") as caught:
        rendered(babel, locale=locale)
    assert caught.value.field == "locale"


def test_a_language_without_flask_babel_is_an_error_with_the_cure(app: Flask) -> None:
    write(app, welcome_txt="Hello")
    with pytest.raises(MessageError, match="Flask-Babel") as caught:
        rendered(app, locale="de")
    assert caught.value.field == "locale"
