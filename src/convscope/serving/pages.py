"""What browsers request: the page at `/`, and the API documentation at `/docs`. All of it is served from here."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

PAGE = Path(__file__).with_name("page")
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
DOCS = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>API documentation. The OpenAPI description: <a href="openapi.json">openapi.json</a></p>
<table><tr><th>Request</th><th>Description</th><th>Responses</th></tr>
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
    """A file of the page."""
    return read_asset(name)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API documentation in plain HTML: FastAPI's documentation pages load scripts from other hosts."""
    description = request.app.openapi()
    rows = [
        _format_row(f"{method.upper()} {path}", operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    return HTMLResponse(DOCS.format(title=escape(description["info"]["title"]), rows="\n".join(rows)))


def read_asset(name: str) -> Response:
    """A file of the page: only a file of the folder, under exactly this name.

    Raises:
        HTTPException: 404, there is no such file.
    """
    media_type = MEDIA_TYPES.get(Path(name).suffix)
    if media_type is None or not PAGE.is_dir() or name not in {file.name for file in PAGE.iterdir() if file.is_file()}:
        raise _no_such_file()
    return Response((PAGE / name).read_bytes(), media_type=media_type, headers={"Cache-Control": "no-cache"})


def _format_row(request: str, operation: dict[str, Any]) -> str:
    responses = "<br>".join(
        f"{escape(status)} {escape(response['description'])}" for status, response in operation["responses"].items()
    )
    description = escape(operation["description"])
    return f"<tr><td><code>{escape(request)}</code></td><td>{description}</td><td>{responses}</td></tr>"


def _no_such_file() -> HTTPException:
    return HTTPException(404)
