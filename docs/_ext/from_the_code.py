"""Directives whose facts come from the code, so that a page cannot say anything else.

``{settings}``, ``{states}``, ``{cures}``, ``{commands}`` and ``{ways}`` write Markdown, which the page's parser reads;
``{state-diagram}`` is a picture.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from state_diagram import diagram

from flask_outbox._cli import mail_cli
from flask_outbox._settings import SETTINGS
from flask_outbox.rules.states import TRANSITIONS, State
from flask_outbox.telemetry.cures import CURES


class Written(SphinxDirective):
    """A directive that is Markdown after all."""

    def markdown(self) -> str:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(self.markdown(), allow_section_headings=True)


class Settings(Written):
    """The table ``SETTINGS``, each group under its heading."""

    def markdown(self) -> str:
        groups = list(dict.fromkeys(setting.group for setting in SETTINGS))
        return "\n\n".join(f"## {group}\n\n{_settings_of(group)}" for group in groups)


def _settings_of(group: str) -> str:
    return "\n\n".join(
        f"(setting-{setting.key})=\n`{setting.key}`\n: {setting.text}\n\n"
        f"  {_sentence(setting.kind)} Default: {setting.default}."
        for setting in SETTINGS
        if setting.group == group
    )


def _sentence(kind: str) -> str:
    # Markdown would make a link of what stands in angle brackets.
    return f"{kind[0].upper()}{kind[1:]}.".replace("<", "\\<")


class States(Written):
    """What each state means is the directive's content, a line each; what may follow is the table's."""

    has_content = True

    def markdown(self) -> str:
        meanings = dict(line.split(": ", 1) for line in self.content if line.strip())
        if meanings.keys() != {str(state) for state in State}:
            raise self.error(f"The states are: {', '.join(State)}.")
        return _table(
            ("state", "what it means", "what may follow"),
            (
                (
                    f"**{state}**",
                    meanings[state],
                    _words(TRANSITIONS[state]) or "nothing: it is over",
                )
                for state in State
            ),
        )


class Diagram(SphinxDirective):
    """The same table as a picture."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", diagram(), format="html")]


class Cures(Written):
    """The advice that the log and ``flask mail send-test`` give."""

    def markdown(self) -> str:
        return "\n".join(f"- {advice}" for _, advice in CURES)


class Commands(Written):
    """Every ``flask mail`` command with its options, as ``--help`` says it."""

    def markdown(self) -> str:
        context = click.Context(mail_cli, info_name="flask mail")
        return "\n\n".join(
            _command(name, mail_cli.commands[name], context) for name in mail_cli.commands
        )


def _command(name: str, command: click.Command, group: click.Context) -> str:
    context = click.Context(command, info_name=name, parent=group)
    usage = " ".join(["flask mail", name, *command.collect_usage_pieces(context)])
    options = [
        f"- `{', '.join(param.opts)}`: {record[1]}"
        for param in command.params
        if isinstance(param, click.Option) and (record := param.get_help_record(context))
    ]
    text = " ".join((command.help or "").split())
    return "\n".join([f"## {name}", "", f"`{usage}`", "", text, "", *options])


class Ways(Written):
    """The table that the tests of the ways of running take their cases from."""

    def markdown(self) -> str:
        table = _module(Path(__file__).parents[2] / "tests/ways/table.py")
        notes: dict[str, int] = {}

        def cell(found: Any) -> str:
            mark = "yes" if found.applies else "–"
            if not found.note:
                return mark
            return f"{mark} ({notes.setdefault(found.note, len(notes) + 1)})"

        shown = _table(
            ("way of running", *map(str, table.Claim)),
            [(way.name, *(cell(way.cell(claim)) for claim in table.Claim)) for way in table.WAYS],
        )
        return "\n".join([shown, "", *(f"{number}. {note}" for note, number in notes.items())])


def _module(path: Path) -> Any:
    """A file of the tests, whose packages are not here."""
    spec = spec_from_file_location(f"docs_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _words(states: Iterable[State]) -> str:
    """In the order of the enumeration, not of a set."""
    found = set(states)
    return ", ".join(state for state in State if state in found)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("settings", Settings)
    app.add_directive("states", States)
    app.add_directive("state-diagram", Diagram)
    app.add_directive("cures", Cures)
    app.add_directive("commands", Commands)
    app.add_directive("ways", Ways)
    return {"parallel_read_safe": True}
