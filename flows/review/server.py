"""The review page as a local web application, for whoever holds its token and for nobody else.

The token comes with the first address and moves into a cookie that no other site's requests carry. Requests that name
another host (DNS rebinding) or come from another origin are refused. Of a dataset's content only escaped text and
pictures that were decoded and encoded anew ever reach the browser.
"""

from __future__ import annotations

import hmac
from dataclasses import fields
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from auditors import decisions
from auditors.decisions import Choice
from auditors.errors import ForetasteError, PlanError
from flows.review.desk import PAGE, Desk, Filter

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC = {
    "palette.css": ("auditors.report", "text/css; charset=utf-8"),
    "page.css": ("flows.review", "text/css; charset=utf-8"),
    "page.js": ("flows.review", "text/javascript; charset=utf-8"),
}
LARGEST_BODY = 1 << 16


def cookie(host: str) -> str:
    """The name of the cookie that holds the token: browsers share cookies among the ports of a machine."""
    return f"foretaste-{host.rpartition(':')[2]}"


def application(desk: Desk, *, reviewer: str, token: str, hosts: frozenset[str]) -> Starlette:
    """The page for one reviewer. `hosts` are the Host headers it answers to, such as 127.0.0.1:8765."""

    async def guard(request: Request, call: RequestResponseEndpoint) -> Response:
        response = await call(request) if (refusal := _refusal(request, token, hosts)) is None else refusal
        response.headers.update(HEADERS)
        return response

    async def index(_: Request) -> Response:
        return Response(_file("page.html"), media_type="text/html; charset=utf-8")

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return _said(404, "there is no such file")
        package, kind = STATIC[name]
        return Response(_file(name, package), media_type=kind)

    def start(_: Request) -> Response:
        shown = {key: desk.report[key] for key in ("verdict", "reason")}
        return JSONResponse({**shown, "reviewer": reviewer, "filters": desk.choices(), **desk.progress(reviewer)})

    def rows(request: Request) -> Response:
        asked = request.query_params
        try:
            first = max(0, int(asked.get("first", "0")))
        except ValueError:
            return _said(400, "first must be a number")
        try:
            found = desk.rows(_filter(asked))
        except ValueError:
            return _said(400, "state must be open, keep, drop or unsure")
        cards = desk.cards(found[first : first + PAGE], reviewer)
        return JSONResponse({"total": len(found), "first": first, "page": PAGE, "cards": cards})

    def picture(request: Request) -> Response:
        found = desk.samples([request.path_params["row"]])
        if not found or found[0].picture is None:
            return _said(404, "there is no such picture")
        return Response(found[0].picture, media_type="image/png")

    async def decide(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _said(415, "a decision must be JSON")
        body = await request.body()
        if len(body) > LARGEST_BODY:
            return _said(413, "a decision is not so long")
        try:
            given = await request.json()
            choice, note = Choice(given["choice"]), str(given.get("note", ""))
            note.encode()  # half of a surrogate pair can be written in JSON, but cannot be stored
            asked = given.get("rows")
            chosen = desk.rows(_filter(given["group"])) if asked is None else [int(row) for row in asked]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return _said(400, "a decision must name rows, or a group, and a choice")
        known = set(desk.flagged["row"].to_list())
        if not chosen or not known.issuperset(chosen):
            return _said(400, "only flagged rows can be decided about")
        try:
            decisions.decide(desk.folder, chosen, choice, reviewer=reviewer, note=note)
        except ForetasteError as error:
            return _said(400 if isinstance(error, PlanError) else 500, str(error))
        # Counting takes longer than deciding: who has more to send is told at the end.
        return JSONResponse({"rows": len(chosen), **({} if given.get("more") else desk.progress(reviewer))})

    routes = [
        Route("/", index),
        Route("/static/{name}", static),
        Route("/start", start),
        Route("/rows", rows),
        Route("/picture/{row:int}", picture),
        Route("/decide", decide, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard)])


def _refusal(request: Request, token: str, hosts: frozenset[str]) -> Response | None:
    """What a request that must not get any further is answered."""
    host = request.headers.get("host", "")
    if host not in hosts:
        return _said(403, "this page has another address")
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return _said(403, "requests of other pages are not answered")
    given = request.query_params.get("token")
    if given is not None and request.method == "GET" and request.url.path == "/" and _same(given, token):
        welcome = RedirectResponse("/", status_code=303)
        welcome.set_cookie(cookie(host), token, httponly=True, samesite="strict")
        return welcome
    if not _same(request.cookies.get(cookie(host), ""), token):
        return _said(403, "open the address that foretaste review printed: it holds the token")
    return None


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _filter(asked: Any) -> Filter:
    return Filter(**{one.name: str(asked.get(one.name) or "") for one in fields(Filter)})


def _said(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status_code=status)


def _file(name: str, package: str = "flows.review") -> str:
    return (files(package) / name).read_text(encoding="utf-8")
