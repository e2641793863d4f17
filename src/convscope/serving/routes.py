"""What the service answers to its own clients: predictions, explanations, what the model is, how the service is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from convscope.errors import ImageRefused
from convscope.serving import schemas as answers
from convscope.serving.explanations import Looking
from convscope.serving.http_errors import Refusal, shown
from convscope.serving.service import Service, picture_filters
from convscope.serving.uploads import Upload, is_form, uploads_of

DAY_MILLISECONDS = 86_400_000
INLINE_BYTES = 256 * 1024  # a form that is smaller is taken apart at once: asking a thread would take longer

BINARY = {"schema": {"type": "string", "format": "binary"}}
FILES = {"schema": {"type": "object", "properties": {"file": {"type": "array", "items": BINARY["schema"]}}}}
BODY = {
    "requestBody": {
        "required": True,
        "description": "One image as the body itself, of any other type than multipart; or files in a form.",
        "content": {"application/octet-stream": BINARY, "image/*": BINARY, "multipart/form-data": FILES},
    }
}
WHEN = {
    400: "A body that cannot be read",
    401: "No API key, or a wrong one",
    404: "The model has none",
    408: "A body that arrives too slowly",
    413: "A body that is too large",
    415: "Not an image, or a damaged one",
    422: "A wrong parameter, or a wrong number of images",
    503: "Too much to do: see Retry-After",
    504: "The deadline passed",
}

router = APIRouter()


def refusals(*statuses: int, model: type[BaseModel] = answers.Problem) -> dict[int | str, dict[str, Any]]:
    """These statuses, as OpenAPI describes them."""
    waiting = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return {
        status: {"model": model, "description": WHEN[status]} | ({"headers": waiting} if status >= 503 else {})
        for status in statuses
    }


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


Deadline = Annotated[
    int | None,
    Header(alias="X-Deadline-Ms", ge=1, le=DAY_MILLISECONDS, description="time for the answer, if less than usual"),
]


@asynccontextmanager
async def uploads(request: Request, *, most: int) -> AsyncIterator[list[Upload]]:
    """The files of a request; refused before its body is read where there is no room for a single one."""
    service = service_of(request)
    service.batcher.check_room([0], service.deadline(None))
    async with service.room.body(request) as body:
        if is_form(request) and len(body) > INLINE_BYTES:
            yield await asyncio.to_thread(uploads_of, request, body, most=most)
        else:
            yield uploads_of(request, body, most=most)


@router.post(
    "/predict",
    response_model=answers.Predictions,
    responses=refusals(400, 401, 408, 413, 415, 422, 503, 504),
    openapi_extra=BODY,
)
async def predict(request: Request, milliseconds: Deadline = None) -> Response:
    """Classify one image, or each file of a form."""
    service = service_of(request)
    async with uploads(request, most=service.most_images) as files:
        outcomes = await service.batcher.answer([file.data for file in files], deadline=service.deadline(milliseconds))
        names = [file.name for file in files]
    if len(outcomes) == 1:
        check_readable(outcomes[0])
    predictions = [
        describe_outcome(name, outcome, service.bundle.classes) for name, outcome in zip(names, outcomes, strict=True)
    ]
    return JSONResponse({"predictions": predictions, "model": {"name": service.name, "version": service.version}})


@router.post(
    "/explain",
    response_model=answers.Explanation,
    responses=refusals(400, 401, 404, 408, 413, 415, 422, 503, 504)
    | {200: {"content": {"image/png": BINARY}, "description": "As JSON, or the heat over the image as a picture"}},
    openapi_extra=BODY,
)
async def explain(
    request: Request,
    class_name: Annotated[str | None, Query(alias="class", description="whose heat map; else the label's")] = None,
    milliseconds: Deadline = None,
) -> Response:
    """Show why the model answers so: where the heat is, what each block sees, which training images are alike."""
    service = service_of(request)
    inside = service.seen_inside()
    if class_name is not None and class_name not in service.bundle.classes:
        raise _unknown_class(class_name, service.bundle.classes)
    as_picture = "image/png" in request.headers.get("accept", "")
    looking = Looking(inside, service.neighbours, class_name, as_picture)
    async with uploads(request, most=1) as (file,):
        (outcome,) = await service.batcher.answer([file.data], deadline=service.deadline(milliseconds), look=looking)
    check_readable(outcome)
    if as_picture:
        return Response(outcome, media_type="image/png")
    return JSONResponse({"file": file.name, **outcome})


@router.get("/filters", response_model=answers.Filters, responses=refusals(401, 404))
def filters(request: Request) -> Response:
    """The filters of the first convolution."""
    return JSONResponse(picture_filters(service_of(request).seen_inside()))


@router.get("/info", response_model=answers.Info, responses=refusals(401))
async def info(request: Request) -> Response:
    """What the model says of itself, and how much a request may hold."""
    return JSONResponse(service_of(request).describe())


@router.get("/health", response_model=answers.State)
async def health() -> Response:
    """Whether the service is alive."""
    return JSONResponse({"status": "ok"})


@router.get("/ready", response_model=answers.State, responses=refusals(503))
async def ready(request: Request) -> Response:
    """Whether the service has loaded its model, is not overloaded, and is not ending."""
    service = service_of(request)
    service.room.check_open()
    service.batcher.check_room([0], service.deadline(None))
    return JSONResponse({"status": "ok"})


@router.get(
    "/metrics",
    response_class=Response,
    responses=refusals(401) | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """What the service counts about itself, for Prometheus."""
    return Response(service_of(request).telemetry.text(), media_type=CONTENT_TYPE_LATEST)


def check_readable(outcome: Any) -> None:
    """Do nothing where an image could be read.

    Raises:
        Refusal: 415, with the reason.
    """
    if isinstance(outcome, ImageRefused):
        raise _unreadable(outcome)


def describe_outcome(name: str, outcome: Any, classes: tuple[str, ...]) -> dict[str, Any]:
    """What POST /predict says of one file."""
    if isinstance(outcome, ImageRefused):
        return {
            "file": name,
            "label": None,
            "confidence": None,
            "status": "unreadable",
            "error": str(outcome),
            "probabilities": {},
        }
    best = int(outcome.argmax())
    probabilities = outcome.tolist()
    return {
        "file": name,
        "label": classes[best],
        "confidence": probabilities[best],
        "status": "ok",
        "error": "",
        "probabilities": dict(zip(classes, probabilities, strict=True)),
    }


def _unknown_class(name: str, classes: tuple[str, ...]) -> Refusal:
    return Refusal(
        422, found=f"class {shown(name)!r}", expected=f"one of {shown(', '.join(classes))}", fix="see GET /info"
    )


def _unreadable(reason: ImageRefused) -> Refusal:
    return Refusal(
        415,
        found=f"an image that cannot be used: {reason}",
        expected="a JPEG, PNG, WebP, BMP, GIF or TIFF file, whole",
        fix="send the bytes of such a file, or convert the image",
    )
