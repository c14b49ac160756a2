"""Templates rendered into a message.

``Message(template="mail/welcome", context={…})`` names two templates, of which one may be missing:
``mail/welcome.txt`` gives the body, ``mail/welcome.html`` the HTML. They are found and rendered as
:func:`flask.render_template` does it, so blueprint folders, context processors and autoescaping are the
application's. The subject is what the first of them says in ``{% block subject %}``. At the head of a template
the block stands for nothing else; after the first visible text, as in ``<title>``, it is shown there, too.

What the message was given itself wins: a subject, body or HTML of its own is never replaced. What a template
filled in is, so that a message can be sent again with another context.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

from flask import Flask, has_app_context, render_template
from jinja2 import Template, TemplateNotFound
from jinja2.runtime import Context

from .errors import MessageError
from .mail.message import Message, is_lazy

_FIELDS = ("subject", "body", "html")


def render(app: Flask, message: Message) -> None:
    """Fill in a message's subject, body and HTML from its template, and read its lazy strings, in its language.

    :raises MessageError: there is no such template, or no language of that name; ``field`` says which.
    """
    if not isinstance(app, Flask):
        raise MessageError(
            "'template' and 'locale' need Flask. Quart renders in a coroutine: give 'body' and 'html' what"
            " 'await render_template(…)' returned.",
            field="template" if message.template else "locale",
        )
    with nullcontext() if has_app_context() else app.app_context(), _language(app, message.locale):
        for name in _FIELDS:
            if is_lazy(lazy := getattr(message, name)):
                setattr(message, name, str(lazy))
        if message.template:
            _fill(message, _rendered(app, message.template, message.context))


def _fill(message: Message, rendered: Mapping[str, str]) -> None:
    before = message.rendered or {}
    for name in _FIELDS:
        if (given := getattr(message, name)) and given != before.get(name):
            continue
        setattr(message, name, rendered.get(name))
    message.rendered = rendered


def _rendered(app: Flask, name: str, context: Mapping[str, object]) -> dict[str, str]:
    """What the templates of that name say, by the message's fields."""
    text, markup = (_template(app, f"{name}.{suffix}") for suffix in ("txt", "html"))
    if text is None and markup is None:
        raise _missing(app, name)
    fields, subjects = {}, []
    if text is not None:
        fields["body"] = render_template(text, **context).strip("\n")
        subjects.append(text.subject)
    if markup is not None:
        fields["html"] = render_template(markup, **context).strip()
        subjects.append(html.unescape(markup.subject))
    # A subject is one line, however its block was laid out.
    fields["subject"] = " ".join(next(filter(str.strip, subjects), "").split())
    return fields


class _MailTemplate(Template):
    """A template that keeps what its subject block said when it was rendered; made for one rendering."""

    def __new__(cls, template: Template) -> _MailTemplate:
        return object.__new__(cls)

    def __init__(self, template: Template) -> None:
        self.__dict__.update(template.__dict__)
        self.root_render_func = self._root
        self._template = template
        self._subject: str | None = None
        self._begun = False  # whether there is visible text before the block
        self._context = template.new_context()

    @property
    def subject(self) -> str:
        """What the block said; "" where there is none."""
        if self._subject is None:  # it stands nowhere in the layout that the template extends
            for block in self._context.blocks["subject"][1:2]:
                self._subject = "".join(block(self._context))
        return self._subject or ""

    def new_context(
        self,
        vars: dict[str, object] | None = None,
        shared: bool = False,
        locals: Mapping[str, object] | None = None,
    ) -> Context:
        """The context of the rendering, in which the block is ours and the template's own its parent."""
        self._context = super().new_context(vars, shared, locals)
        self._context.blocks.setdefault("subject", []).insert(0, self._take)
        return self._context

    def _root(self, context: Context) -> Iterator[str]:
        for piece in self._template.root_render_func(context):
            self._begun = self._begun or bool(piece.strip())
            yield piece

    def _take(self, context: Context) -> Iterator[str]:
        self._subject = "".join(context.blocks["subject"][1](context))
        if self._begun:
            yield self._subject


def _template(app: Flask, name: str) -> _MailTemplate | None:
    environment = app.jinja_env
    if environment.is_async:
        # Its blocks would need a loop, which is not for a message to start.
        environment = environment.overlay(enable_async=False)
    try:
        return _MailTemplate(environment.get_template(name))
    except TemplateNotFound:
        return None


def _missing(app: Flask, name: str) -> MessageError:
    loaders = [place.jinja_loader for place in (app, *app.iter_blueprints())]
    folders = [str(path) for loader in loaders for path in getattr(loader, "searchpath", ())]
    searched = ", ".join(folders) or "the application's Jinja loader"
    bare, _, suffix = name.rpartition(".")
    cure = f" Leave the ending out: template={bare!r}." if suffix in ("txt", "html") else ""
    return MessageError(
        f"template: neither {name + '.txt'!r} nor {name + '.html'!r} was found in {searched}.{cure}",
        field="template",
    )


def _language(app: Flask, locale: str | None) -> AbstractContextManager[object]:
    """The language by Flask-Babel while the templates are rendered; the current one where none is asked for."""
    if not locale:
        return nullcontext()
    if "babel" not in app.extensions:
        raise MessageError(
            f"locale: {locale!r} needs Flask-Babel: install it, and call 'Babel(app)'.",
            field="locale",
        )
    from babel import Locale, UnknownLocaleError
    from flask_babel import force_locale  # type: ignore[import-untyped]  # it brings no types

    try:
        language = str(Locale.parse(str(locale).replace("-", "_")))
    except (UnknownLocaleError, ValueError) as error:
        raise MessageError(
            f"locale: {locale!r} is not a language that Babel knows; write one like 'de' or 'pt_BR'.",
            field="locale",
        ) from error
    manager: AbstractContextManager[object] = force_locale(language)
    return manager
