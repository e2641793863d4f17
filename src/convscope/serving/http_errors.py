"""Errors as HTTP responses: each says what was found, what was expected and how to fix it."""

from __future__ import annotations

import math
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from convscope.errors import BundleError, ConvscopeError

TENSORFLOW_SERVING_PREFIX = "/v1/"  # clients of these paths expect the errors of TensorFlow Serving
QUOTED_CHARACTERS = 200  # of a text that a client sent
STARLETTE_ERRORS = {  # errors that Starlette raises
    404: ("no such path", "one that GET /openapi.json lists", "check the path"),
    405: ("a method that this path does not have", "one that GET /openapi.json lists", "check the method"),
}


class HTTPError(ConvscopeError):
    """A request whose response has an error status.

    Attributes:
        status: the HTTP status.
        retry_seconds: the client may retry after this time; 0: waiting does not help.
        close: whether the connection is closed after the response: the rest of the request is not read.
    """

    def __init__(
        self, status: int, *, found: str, expected: str, fix: str, retry_seconds: float = 0.0, close: bool = False
    ) -> None:
        super().__init__(found=found, expected=expected, fix=fix)
        self.status = status
        self.retry_seconds = retry_seconds
        self.close = close

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        headers = {"Retry-After": str(math.ceil(self.retry_seconds))} if self.retry_seconds else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers | ({"Connection": "close"} if self.close else {})

    def to_json(self) -> dict[str, Any]:
        """The body of the response."""
        return {"error": {"found": self.found, "expected": self.expected, "fix": self.fix}}


def quote(text: str) -> str:
    """A text that a client sent, safe to repeat: one line, at most `QUOTED_CHARACTERS` long."""
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= QUOTED_CHARACTERS else printable[:QUOTED_CHARACTERS] + "..."


def error_response(path: str, error: HTTPError) -> Response:
    """An error as a response, in the format that the clients of this path expect."""
    is_tensorflow_serving = path.startswith(TENSORFLOW_SERVING_PREFIX)
    body = {"error": f"{error.found}; {error.fix}"} if is_tensorflow_serving else error.to_json()
    return JSONResponse(body, error.status, headers=error.headers)


def install_error_handlers(app: FastAPI) -> None:
    """Give every error of an application the same format."""

    async def handle(request: Request, error: Exception) -> Response:
        return error_response(request.url.path, _to_http_error(error))

    async def handle_disconnect(_request: Request, _error: Exception) -> Response:
        return Response(status_code=400)  # nobody receives it: the client has disconnected

    for kind in (HTTPError, BundleError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(ClientDisconnect, handle_disconnect)


def _to_http_error(error: Exception) -> HTTPError:
    if isinstance(error, HTTPError):
        return error
    if isinstance(error, BundleError):  # without the path of the model, which clients must not see
        return HTTPError(
            500,
            found="a model whose output is not finite: it is broken",
            expected="finite probabilities",
            fix="see `convscope verify`; train or export the model again",
        )
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"]))
        return HTTPError(
            422,
            found=quote(f"{location} = {first.get('input')!r}"),
            expected=quote(str(first["msg"])),
            fix="see GET /openapi.json",
        )
    if isinstance(error, HTTPException):
        default = (f"a request of status {error.status_code}", "another request", "see GET /openapi.json")
        found, expected, fix = STARLETTE_ERRORS.get(error.status_code, default)
        return HTTPError(error.status_code, found=found, expected=expected, fix=fix)
    return HTTPError(
        500,
        found="an internal error of the service",
        expected="a response",
        fix="see the standard error of the service, and report it",
        close=True,  # as Uvicorn does after an error
    )
