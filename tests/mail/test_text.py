"""Plain text from HTML."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.mail.text import text_from_html

from .letters import modest


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("just words", "just words"),
        ("<p>One <b>bold</b></p><p>Two</p>", "One bold\n\nTwo"),
        ("<p>left open<p>twice", "left open\n\ntwice"),
        ("<p>it <i>is</i>, so</p>", "it is, so"),
        ("<p>\n  many\n  spaces </p>\n\n  <p> b </p>", "many spaces\n\nb"),
        ("a<br>b<br/><br>c<br><br><br><br>d", "a\nb\n\nc\n\nd"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("<h1>Title</h1><p>text</p>", "Title\n\ntext"),
        ("&lt;b&gt; &amp; &#8364;&nbsp;5 &bogus;", "<b> & € 5 &bogus;"),
        ("a<hr>b", f"a\n\n{'-' * 40}\n\nb"),
        ("<ul><li>one</li><li>two</li></ul>after", "- one\n- two\n\nafter"),
        ("<ol><li>one<li>two</ol>", "1. one\n2. two"),
        ("<ul><li>a<ol><li>b</ol></li><li>c</li></ul>", "- a\n  1. b\n- c"),
        ("<ul><li>a<br>b</li></ul>", "- a\n  b"),
        ("<li>loose</li>", "loose"),
        ("<blockquote><p>a</p><p>b</p></blockquote>c", "> a\n\n> b\n\nc"),
        ("x<pre>\n  a\n\n    b\n</pre>y", "x\n\n  a\n\n    b\n\ny"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c<td>d</table>", "a b\nc d"),
        ("<a href='https://x.org/y'>our site</a>.", "our site (https://x.org/y)."),
        ("<a href='https://x.org/y'>https://x.org/y</a>", "https://x.org/y"),
        ("<a href='https://x.org/'>x.org</a>", "x.org"),
        ("<a href='mailto:a@b.org?subject=x'>write</a>", "write (a@b.org)"),
        ("<a href='mailto:a@b.org'>a@b.org</a>", "a@b.org"),
        ("<a href='#top'>up</a> <a href='javascript:x()'>do</a> <a>no</a>", "up do no"),
        ("<a href='https://x.org/y'><div>Button</div></a>next", "Button (https://x.org/y)\nnext"),
        ("<a href='https://x.org'><img src='l.png' alt='Logo'></a>", "Logo (https://x.org)"),
        ("<a href='https://x.org'><img src='l.png'></a>", "https://x.org"),
        ("<img src='pixel.gif'>", ""),
        ("<title>t</title><style>p{}</style><script>if (a<b) {}</script>hi", "hi"),
        ("<html><head><title>t</title><style>s</style><body>hi", "hi"),
        ("<!DOCTYPE html><!-- note -->hi<!-- left open", "hi"),
        ("<!--[if mso]><p>old</p><![endif]--><![if !mso]>web<![endif]>", "web"),
        ("<!--[if !mso]><!-->web<!--<![endif]-->", "web"),
        ("<div style='display: none'>pre<div>x</div></div>real", "real"),
        ("<p hidden>no</p>yes", "yes"),
        ("<span style='mso-hide:all'>no</span>yes", "yes"),
        ("hi&zwnj;&nbsp;&zwnj;&nbsp;&#847; there", "hi\u200c there"),
        ("news\u00adlet\u200bter", "newsletter"),
        ("می\u200cخواهم 👨\u200d👩", "می\u200cخواهم 👨\u200d👩"),
        ("</p>stray</div></a>", "stray"),
        ("<b><i>x</b></i>y", "xy"),
        ("<ul></ul>x", "x"),
        (
            "<a href='https://x.org'>a <a href='https://y.org'>b",
            "a (https://x.org) b (https://y.org)",
        ),
        ("<a href='#'>a<p hidden><a href='#'>no</p>b", "ab"),
    ],
)
def test_html_reads_as_text(html: str, text: str) -> None:
    assert text_from_html(html) == text


@pytest.mark.parametrize(
    "html",
    [
        "<b>x " * 2_000,
        "<b>" * 2_000 + "</i>x" * 2_000,
        "<blockquote>x" * 2_000,
        "<ul><li>x" * 2_000,
        "<a href='https://x.org'>x" * 2_000 + "</a>" * 2_000,
    ],
)
def test_deep_nesting_does_not_blow_up_the_text(html: str) -> None:
    assert len(text_from_html(html)) <= 5 * len(html)


_markup = st.lists(
    st.one_of(
        st.sampled_from(
            ["<", ">", "</", "<!", "<![", "<!--", "-->", "]>", "<?", "&", "&#", ";", '"', "/", " "]
        ),
        st.sampled_from(
            [
                "<p>",
                "</p>",
                "<a href=x>",
                "</a>",
                "<ul>",
                "<li>",
                "</ul>",
                "<pre>",
                "</pre>",
                "<br/>",
            ]
        ),
        st.sampled_from(
            ["<style>", "</style>", "<script>", "</script>", "<div hidden>", "</div>", "<![CDATA["]
        ),
        st.text(max_size=5),
    ),
    max_size=25,
).map("".join)


@modest
@given(_markup)
def test_no_markup_is_too_broken_to_read(html: str) -> None:
    text_from_html(html)


@modest
@given(st.lists(st.from_regex(r"\A[a-z]{1,10}\Z"), min_size=1))
def test_every_word_of_a_paragraph_is_kept(words: list[str]) -> None:
    assert text_from_html(f"<p>{' '.join(words)}</p>") == " ".join(words)
