"""Every request that is not answered says what was found, what was expected and how to mend it: here as HTTP."""

from __future__ import annotations

import math
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from convscope.errors import BundleError, ConvscopeError

STRANGERS = "/v1/"  # below it live the clients of TensorFlow Serving, which expect its errors
SHOWN_CHARACTERS = 200  # of what a client sent
WORDS = {  # what Starlette refuses by itself
    404: ("no such address", "one that GET /openapi.json lists", "check the path"),
    405: ("a method that this address does not have", "one that GET /openapi.json lists", "check the method"),
}


class Refusal(ConvscopeError):
    """A request that is not answered.

    Attributes:
        status: the HTTP status.
        retry_seconds: after which it is worth to ask again; 0: not by waiting.
        closes: whether the connection ends with it, since what the client still sends is not wanted.
    """

    def __init__(
        self, status: int, *, found: str, expected: str, fix: str, retry_seconds: float = 0.0, closes: bool = False
    ) -> None:
        super().__init__(found=found, expected=expected, fix=fix)
        self.status = status
        self.retry_seconds = retry_seconds
        self.closes = closes

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go with it."""
        headers = {"Retry-After": str(math.ceil(self.retry_seconds))} if self.retry_seconds else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers | ({"Connection": "close"} if self.closes else {})

    def to_json(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"found": self.found, "expected": self.expected, "fix": self.fix}}


def shown(text: str) -> str:
    """What a client sent, as a text that is safe to repeat: one line, not long."""
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= SHOWN_CHARACTERS else printable[:SHOWN_CHARACTERS] + "..."


def answer_refusal(path: str, refusal: Refusal) -> Response:
    """A refusal as a response, in the words that the callers of this path understand."""
    body = {"error": f"{refusal.found}; {refusal.fix}"} if path.startswith(STRANGERS) else refusal.to_json()
    return JSONResponse(body, refusal.status, headers=refusal.headers)


def install_refusals(app: FastAPI) -> None:
    """Give whatever goes wrong in an application the same shape."""

    async def refused(request: Request, error: Exception) -> Response:
        return answer_refusal(request.url.path, _refusal_of(error))

    async def gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=400)  # to nobody: the client has left

    for kind in (Refusal, BundleError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(ClientDisconnect, gone)


def _refusal_of(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, BundleError):  # without its path, which is nobody's business
        return Refusal(
            500,
            found="a model that answers with what is no number: it is broken",
            expected="finite probabilities",
            fix="see `convscope verify`; train or export the model again",
        )
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return Refusal(
            422,
            found=shown(f"{where} = {first.get('input')!r}"),
            expected=shown(str(first["msg"])),
            fix="see GET /openapi.json",
        )
    if isinstance(error, HTTPException):
        other = (f"a request of status {error.status_code}", "another request", "see GET /openapi.json")
        found, expected, fix = WORDS.get(error.status_code, other)
        return Refusal(error.status_code, found=found, expected=expected, fix=fix)
    return Refusal(
        500,
        found="an error of the service while it answered",
        expected="an answer",
        fix="see what the service wrote to its standard error, and report it",
        closes=True,  # as Uvicorn does after an error
    )
