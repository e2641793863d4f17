"""What a browser is shown: the page at `/`, and the list of all addresses at `/docs`. Nothing comes from outside."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

PAGE = Path(__file__).with_name("page")
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
DOCS = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>For programs: <a href="openapi.json">openapi.json</a></p>
<table><tr><th>Request</th><th>What it does</th><th>Answers</th></tr>
{rows}
</table></body></html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> Response:
    """The page."""
    return read_asset("index.html")


@router.get("/page/{name}")
async def asset(name: str) -> Response:
    """One of its parts."""
    return read_asset(name)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The addresses with their answers, in plain HTML: FastAPI's own pages load scripts from elsewhere."""
    described = request.app.openapi()
    rows = [
        _row(f"{method.upper()} {path}", operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return HTMLResponse(DOCS.format(title=escape(described["info"]["title"]), rows="\n".join(rows)))


def read_asset(name: str) -> Response:
    """A file of the page: only what lies there as a file, under this very name.

    Raises:
        HTTPException: 404, there is none.
    """
    kind = TYPES.get(Path(name).suffix)
    if kind is None or not PAGE.is_dir() or name not in {file.name for file in PAGE.iterdir() if file.is_file()}:
        raise _no_such_file()
    return Response((PAGE / name).read_bytes(), media_type=kind, headers={"Cache-Control": "no-cache"})


def _row(request: str, operation: dict[str, Any]) -> str:
    answers = "<br>".join(
        f"{escape(status)} {escape(answer['description'])}" for status, answer in operation["responses"].items()
    )
    return (
        f"<tr><td><code>{escape(request)}</code></td><td>{escape(operation['description'])}</td><td>{answers}</td></tr>"
    )


def _no_such_file() -> HTTPException:
    return HTTPException(404)
