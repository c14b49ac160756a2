"""The demo's web app: a sign-up form that sends a mail, and all that becomes of that mail.

``./dev up`` starts it with a mail server and a worker beside it. What an application needs from
Flask-Outbox is the settings in ``create_app`` and the two lines of ``send``; the rest of this file
is there to measure, to show and to break things.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import control
import panels
from compared import FATES, OWNERS, SITUATIONS
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    g,
    redirect,
    render_template,
    request,
    url_for,
)
from panels import SignUp
from spool import MAX_DELAY, MODES, Faults, Spool
from trials import Run, Trials
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as BaseResponse

from flask_outbox import DeliveryError, Mail, Message, MessageError

#: A page, or the fragments of it that change, by name.
Shown = str | dict[str, str]

mail = Mail()
page = Blueprint("page", __name__)

COPIES = (1, 20, 100)
ENGINES = ("outbox", "immediate")
LOOPBACK = ("127.0.0.1", "::1", "localhost")

#: After so long a view that sends many mails itself gives up, as a web server's timeout would make it.
PATIENCE = 10

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_app() -> Flask:
    """Make the app. It keeps everything in ``DEMO_DIR``, or in ``instance`` beside this file."""
    folder = Path(os.environ.get("DEMO_DIR", Path(__file__).parent / "instance")).resolve()
    spool = Spool(folder / "mailserver")
    app = Flask(__name__, instance_path=str(folder))
    app.config.update(
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT=spool.port() or 2525,
        MAIL_DEFAULT_SENDER=("Flask-Outbox demo", "demo@example.org"),
        MAIL_OUTBOX_URL=f"sqlite:///{folder / 'outbox.sqlite'}",
        MAIL_WORKER="external",
        # For people who watch: by default these are half a minute.
        MAIL_RETRY_DELAYS=(2, 5, 10, 30),
        MAIL_BREAKER_PAUSE=3,
    )
    mail.init_app(app)
    app.extensions["demo"] = panels.Demo(mail, spool, folder, Trials(folder, spool))
    app.register_blueprint(page)
    for word in (
        panels.milliseconds,
        panels.seconds,
        panels.clock,
        panels.countdown,
        panels.breakable,
    ):
        app.add_template_filter(word)
    app.jinja_env.globals.update(modes=MODES, tones=panels.TONES, steps=panels.STEPS)
    app.jinja_env.globals.update(owners=OWNERS, situations=SITUATIONS, fates=FATES)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # the page asks once a second
    return app


# -- sending -----------------------------------------------------------------------------------------


def send(sign_up: SignUp, number: int) -> None:
    """Send one welcome mail."""
    message = Message(
        sign_up.subject(number),
        recipients=[(sign_up.name, sign_up.email)],
        body=render_template("mail/welcome.txt", name=sign_up.name),
        html=render_template("mail/welcome.html", name=sign_up.name),
    )
    sign_up.receipts.append(mail.send(message, engine=sign_up.engine))


@page.post("/")
def sign_up() -> BaseResponse | tuple[Shown, int]:
    """The view whose time is taken: from Flask's first step for the request to its last."""
    form = request.form
    sign_up, wrong = read(form)
    if wrong:
        return show_index(form=form, wrong=wrong), 422
    try:
        for number in range(1, sign_up.copies + 1):
            send(sign_up, number)
            if time.perf_counter() - g.started > PATIENCE and number < sign_up.copies:
                sign_up.failure = f"The view gave up after {PATIENCE} s."
                break
    except MessageError as error:
        return show_index(form=form, wrong={"email": str(error).removeprefix("recipients: ")}), 422
    except DeliveryError as error:
        sign_up.failure = str(error)
    g.sign_up = sign_up
    demo().remember(sign_up)
    return redirect(url_for("page.index", answer=sign_up.key, _anchor="answer"), 303)


def read(form: MultiDict[str, str]) -> tuple[SignUp, dict[str, str]]:
    """What was filled in, and what is wrong with it by field."""
    name, email = form.get("name", "").strip(), form.get("email", "").strip()
    copies, engine = form.get("copies", 1, int), form.get("engine", "outbox")
    if copies not in COPIES or engine not in ENGINES:
        abort(400)
    wrong = {}
    if not name:
        wrong["name"] = "Please give a name."
    if not email:
        wrong["email"] = "Please give an address."
    return SignUp(name, email, engine, copies), wrong


@page.before_app_request
def start_the_clock() -> None:
    g.started = time.perf_counter()


@page.after_app_request
def stop_the_clock(response: Response) -> Response:
    if "sign_up" in g:
        g.sign_up.took = time.perf_counter() - g.started
    return response


# -- showing -----------------------------------------------------------------------------------------


@page.get("/")
def index() -> Shown:
    return show_index(form=request.args)


def show_index(form: MultiDict[str, str], wrong: dict[str, str] | None = None) -> Shown:
    """The first page; what was filled in stays filled in."""
    asked = demo().find(request.args.get("answer", ""))
    return show(
        "index.html",
        ("answer", "steps", "outbox", "worker", "server", "messages", "received"),
        answer=panels.answer(demo(), asked),
        done=demo().done,
        comparisons=panels.comparisons(demo()),
        road=panels.road(demo()),
        rows=panels.rows(demo(), limit=8, opened=request.args.get("open", "")),
        letters=panels.post(demo(), limit=8),
        form=asked.fields() if asked and not wrong else form,
        wrong=wrong or {},
    )


@page.get("/messages/")
def messages() -> Shown:
    rows = panels.rows(demo(), limit=100, opened=request.args.get("open", ""))
    return show("messages.html", ("messages",), rows=rows)


@page.get("/messages/<key>")
def message(key: str) -> Shown:
    found = mail.get(key)
    if found is None:
        abort(404)
    row = panels.row(demo(), found, with_history=True)
    return show("message.html", ("message",), row=row)


@page.get("/ways/")
def compare() -> Shown:
    """The ways to send a mail, side by side."""
    trials = demo().trials
    trials.look()
    chosen = request.args.get("situation", "well")
    shown = {"trials": trials, "ways": trials.ways, "chosen": chosen, "run": trials.run()}
    return show("ways.html", ("run", "results", "cards"), **shown)


def show(template: str, fragments: tuple[str, ...], **context: object) -> Shown:
    """A page; or, asked for by the page itself, the fragments of it that change."""
    if request.accept_mimetypes.best != "application/json":
        return render_template(template, **context)
    run = context.get("run")
    spoken = run.spoken if isinstance(run, Run) else panels.spoken(panels.road(demo()))
    parts = {name: render_template(f"_{name}.html", **context) for name in fragments}
    return parts | {"spoken": spoken}


@page.get("/health")
def health() -> dict[str, list[int]]:
    """Says that the app works, and which workers it knows of."""
    return {"workers": [worker.pid for worker in mail.status().workers]}


# -- breaking ----------------------------------------------------------------------------------------


@page.post("/mail-server")
def set_faults() -> BaseResponse:
    mode = request.form.get("mode", "")
    delay = request.form.get("delay", 0.0, float) if mode == "slow" else 0
    try:
        demo().spool.set_faults(Faults(mode, delay))
    except ValueError:
        abort(400)
    if "situation" in request.form:  # it was asked for in the midst of a comparison
        return redirect(url_for("page.compare", situation=request.form["situation"]), 303)
    return redirect(url_for("page.index", _anchor="mail-server"), 303)


@page.post("/worker")
def order_worker() -> BaseResponse:
    try:
        order = control.Order(request.form.get("do", ""))
        control.ask(order)
    except (KeyError, ValueError):
        abort(400)
    if order is control.Order.KILL:
        demo().done.add("killed")
    return redirect(url_for("page.index", _anchor="worker"), 303)


@page.post("/ways/")
def try_ways() -> BaseResponse | tuple[str, int]:
    """Try one way or all of them, in one situation or in all of them."""
    which, situation = request.form.get("way", ""), request.form.get("situation", "")
    seconds = {key: request.form.get(f"{key}_seconds", 0.0, float) for key in ("slow", "down")}
    chosen = [one for one in demo().trials.ways if which in {one.key, "all", "everything"}]
    if not chosen or situation not in SITUATIONS or not all(map(bearable, seconds.values())):
        abort(400)
    if not demo().trials.possible:
        abort(404)
    wanted = list(SITUATIONS) if which == "everything" else [situation]
    if not demo().trials.start(chosen, wanted, seconds):
        return "A run is going on. Wait for its end.", 409
    return redirect(url_for("page.compare", situation=situation, _anchor="results"), 303)


def bearable(seconds: float) -> bool:
    return 0 < seconds <= MAX_DELAY


# -- guarding ----------------------------------------------------------------------------------------


@page.before_app_request
def only_this_machine() -> None:
    """Answer to loopback by its own names only, so that no web site can reach in through the browser."""
    host = request.host.rpartition(":")[0] or request.host
    if request.remote_addr not in LOOPBACK or host.strip("[]") not in LOOPBACK:
        abort(403)
    if request.method == "POST" and not from_this_page():
        abort(403)


def from_this_page() -> bool:
    """Whether a browser says that a form of ours was sent; a client that says nothing is no browser."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    return origin is None or origin == request.host_url.rstrip("/")


@page.after_app_request
def set_headers(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
        response.vary.add("Accept")
    return response


def demo() -> panels.Demo:
    found: panels.Demo = current_app.extensions["demo"]
    return found
