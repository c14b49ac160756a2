"""How the documentation is built: ``./dev docs``. Nothing is fetched while it builds."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Flask-Outbox"
author = "The Flask-Outbox team"
project_copyright = author
version = release = version_of("flask-outbox")

extensions = ["myst_parser", "sphinx.ext.autodoc", "from_the_code"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"Written": "Written", "SessionChoice": "SessionChoice"}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False

nitpicky = True
# What autodoc finds in signatures and this manual has no page for.
nitpick_ignore_regex = [
    # Other projects' documentation would have to be fetched.
    (r"py:.*", r"(flask|Flask|blinker|NamedSignal|sqlalchemy)(\..*)?"),
    # So would the standard library's.
    (
        r"py:.*",
        r"(atexit|contextlib|datetime|timedelta|collections|email|smtplib|typing|types)(\..*)?",
    ),
    (
        r"py:.*",
        r"(Any|Callable|Iterable|Iterator|Mapping|Self|Sequence|TracebackType|EmailMessage)",
    ),
    # How an address may be written is told in words.
    (r"py:class", r"(.*\.)?(Address|Written|SessionChoice|TypeAliasForwardRef)"),
    # What stands behind the face has names of its own.
    (r"py:class", r"flask_outbox\._.*"),
    # A docstring may speak of what only the source shows: an attribute, an inner function.
    (r"py:attr", r"alts"),
    (r"py:func", r"flask_outbox\.rules\..*"),
    # A type variable has no page.
    (r"py:class", r"flask_outbox\.engines\.task_queue\.Q"),
]

html_theme = "furo"
html_title = "Flask-Outbox"
html_static_path = ["_static"]
html_css_files = ["outbox.css"]
html_copy_source = False
html_show_sourcelink = False
# Furo's own colours are set here, so that its switch for light and dark goes on working.
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#3452d9",
        "color-brand-content": "#2942b8",
        "color-brand-visited": "#2942b8",
        "color-api-name": "#2942b8",
        "color-api-pre-name": "#2942b8",
        "color-background-primary": "#ffffff",
        "color-background-secondary": "#f6f5f2",
        "color-background-border": "#e3e0d9",
        "color-foreground-primary": "#1d1c1a",
        "color-foreground-secondary": "#63605a",
        "color-foreground-muted": "#63605a",
        "color-code-background": "#f6f5f2",
        "color-highlight-on-target": "#eef1fd",
        "outbox-good": "#13703f",
        "outbox-warn": "#8a5300",
        "outbox-bad": "#b3261e",
    },
    "dark_css_variables": {
        "color-brand-primary": "#8fa4ff",
        "color-brand-content": "#a9b9ff",
        "color-brand-visited": "#a9b9ff",
        "color-api-name": "#a9b9ff",
        "color-api-pre-name": "#a9b9ff",
        "color-background-primary": "#121316",
        "color-background-secondary": "#1a1c20",
        "color-background-border": "#2c2f35",
        "color-foreground-primary": "#eceae6",
        "color-foreground-secondary": "#a5a29c",
        "color-foreground-muted": "#a5a29c",
        "color-code-background": "#1a1c20",
        "color-highlight-on-target": "#1f2540",
        "outbox-good": "#6ed29b",
        "outbox-warn": "#e9b35c",
        "outbox-bad": "#ff8f85",
    },
}
