"""The review page as a local web application, which requires a token.

The token is part of the printed URL and moves into a SameSite=strict cookie. Requests with another Host header (DNS
rebinding) or from another origin are refused. From the dataset, only escaped text and re-encoded pictures are sent to
the browser.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from foretaste.curation import review_decisions
from foretaste.curation.review_decisions import Choice
from foretaste.errors import ForetasteError, PlanError
from foretaste.flows.review.queue import PAGE, Filter, ReviewQueue
from foretaste.report.visible import visible

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC = {
    "palette.css": ("foretaste.report.html", "text/css; charset=utf-8"),
    "page.css": ("foretaste.flows.review", "text/css; charset=utf-8"),
    "page.js": ("foretaste.flows.review", "text/javascript; charset=utf-8"),
    "cards.js": ("foretaste.flows.review", "text/javascript; charset=utf-8"),
}
LARGEST_BODY = 1 << 16
LONGEST_URL = 1 << 13
# What the server reads of a request before its head is whole: enough to answer, and not hang up on, a longer URL.
LARGEST_HEAD = 1 << 20


def cookie(host: str) -> str:
    """The name of the cookie with the token; it includes the port, since browsers share cookies among ports."""
    return f"foretaste-{host.rpartition(':')[2]}"


@dataclass(frozen=True)
class Answers:
    """The request handlers of the page of one reviewer."""

    queue: ReviewQueue
    reviewer: str

    async def index(self, _: Request) -> Response:
        return Response(_file("page.html"), media_type="text/html; charset=utf-8")

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return _error(404, "there is no such file")
        package, kind = STATIC[name]
        return Response(_file(name, package), media_type=kind)

    def start(self, _: Request) -> Response:
        shown = {key: self.queue.report[key] for key in ("verdict", "reason")}
        return JSONResponse(
            {**shown, "reviewer": self.reviewer, "filters": self.queue.choices(), **self.queue.progress(self.reviewer)}
        )

    def rows(self, request: Request) -> Response:
        asked = request.query_params
        try:
            first, row = max(0, int(asked.get("first", "0"))), asked.get("row")
            found = self.queue.rows(_filter(asked))
            if row is not None and int(row) in self.queue.known:
                place = found.index(int(row)) if int(row) in set(found) else 0
                first = place - place % PAGE
        except (ValueError, OverflowError):
            return _error(400, "first and row must be numbers, state must be open, keep, drop or unsure")
        cards = self.queue.cards(found[first : first + PAGE], self.reviewer)
        following = found[first + PAGE : first + 2 * PAGE]
        told = {"total": len(found), "first": first, "page": PAGE, "cards": cards}
        return JSONResponse(told, background=BackgroundTask(self.queue.samples, following))

    def beside(self, request: Request) -> Response:
        row = request.path_params["row"]
        return (
            JSONResponse(self.queue.beside(row, self.reviewer))
            if row in self.queue.known
            else _error(404, "the row is not flagged")
        )

    def near(self, request: Request) -> Response:
        row = request.path_params["row"]
        if row not in self.queue.known:
            return _error(404, "the row is not flagged")
        try:
            return JSONResponse(self.queue.near(row))
        except ForetasteError as error:
            return JSONResponse({"sentence": visible(str(error)), "cards": []})

    def text(self, request: Request) -> Response:
        row = request.path_params["row"]
        return (
            JSONResponse(self.queue.text(row)) if row < self.queue.dataset.rows else _error(404, "there is no such row")
        )

    def picture(self, request: Request) -> Response:
        row = request.path_params["row"]
        shown = None
        if row < self.queue.dataset.rows:
            shown = self.queue.large(row) if "large" in request.query_params else self.queue.thumbnail(row)
        if shown is None:
            return _error(404, "there is no such picture")
        return Response(shown, media_type="image/png")

    async def decide(self, request: Request) -> Response:
        given = await _json(request)
        if isinstance(given, Response):
            return given
        try:
            choice, note = Choice(given["choice"]), given.get("note")
            note = None if note is None else str(note)
            (note or "").encode()  # JSON allows lone surrogates, which cannot be stored
            asked = given.get("rows")
            chosen = self.queue.rows(_filter(given["group"])) if asked is None else [int(row) for row in asked]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return _error(400, "a decision must name rows, or a group, and a choice")
        if not chosen or not self.queue.known.issuperset(chosen):
            return _error(400, "only flagged rows can be decided about")
        if given.get("left"):
            chosen = self.queue.left(chosen, self.reviewer)
        try:
            await run_in_threadpool(
                review_decisions.decide, self.queue.folder, chosen, choice, reviewer=self.reviewer, note=note
            )
        except ForetasteError as error:
            return _error(400 if isinstance(error, PlanError) else 500, str(error))
        return JSONResponse({"rows": len(chosen), **self.queue.progress(self.reviewer)})

    async def undo(self, request: Request) -> Response:
        given = await _json(request)
        if isinstance(given, Response):
            return given
        try:
            done = await run_in_threadpool(review_decisions.undo, self.queue.folder, self.reviewer)
        except ForetasteError as error:
            return _error(500, str(error))
        said = {} if done is None else {"row": done.rows[0], "choice": str(done.choice)}
        return JSONResponse({"rows": len(done.rows) if done else 0, **said, **self.queue.progress(self.reviewer)})


def application(queue: ReviewQueue, *, reviewer: str, token: str, hosts: frozenset[str]) -> Starlette:
    """The page for one reviewer. `hosts` are the accepted Host headers, such as 127.0.0.1:8765."""
    answers = Answers(queue, reviewer)

    async def guard(request: Request, call: RequestResponseEndpoint) -> Response:
        response = await call(request) if (refusal := _refusal(request, token, hosts)) is None else refusal
        response.headers.update(HEADERS)
        return response

    routes = [
        Route("/", answers.index),
        Route("/static/{name}", answers.static),
        Route("/start", answers.start),
        Route("/rows", answers.rows),
        Route("/beside/{row:int}", answers.beside),
        Route("/near/{row:int}", answers.near),
        Route("/text/{row:int}", answers.text),
        Route("/picture/{row:int}", answers.picture),
        Route("/decide", answers.decide, methods=["POST"]),
        Route("/undo", answers.undo, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard)])


def configured(app: Starlette) -> uvicorn.Config:
    """The server's settings for the page."""
    return uvicorn.Config(
        app, http="h11", h11_max_incomplete_event_size=LARGEST_HEAD, log_level="warning", access_log=False
    )


def _refusal(request: Request, token: str, hosts: frozenset[str]) -> Response | None:
    """The response to a request that must not be processed; None if it may be."""
    host = request.headers.get("host", "")
    if len(str(request.url)) > LONGEST_URL:
        return _error(414, "no address of this page is so long")
    if host not in hosts:
        return _error(403, "this page has another address")
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return _error(403, "requests of other pages are not answered")
    given = request.query_params.get("token")
    if given is not None and request.method == "GET" and request.url.path == "/" and _same(given, token):
        welcome = RedirectResponse("/", status_code=303)
        welcome.set_cookie(cookie(host), token, httponly=True, samesite="strict")
        return welcome
    if not _same(request.cookies.get(cookie(host), ""), token):
        return _error(403, "open the address that foretaste review printed: it holds the token")
    return None


async def _json(request: Request) -> Any:
    """The JSON object in a request, or the response that refuses it."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return _error(415, "a decision must be JSON")
    body = await _body(request)
    if body is None:
        return _error(413, "a decision is not so long")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    return given if isinstance(given, dict) else _error(400, "a decision must be a JSON object")


async def _body(request: Request) -> bytes | None:
    """The body of a request; None where it is longer than LARGEST_BODY. The server drops what is not read here."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > LARGEST_BODY:
        return None
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            return None
    return body


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _filter(asked: Any) -> Filter:
    return Filter(**{known.name: str(asked.get(known.name) or "") for known in fields(Filter)})


def _error(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status_code=status)


def _file(name: str, package: str = "foretaste.flows.review") -> str:
    return (files(package) / name).read_text(encoding="utf-8")
