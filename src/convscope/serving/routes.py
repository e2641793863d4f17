"""The routes of the HTTP API: predictions, explanations, model metadata, health and metrics."""

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
from convscope.serving import schemas
from convscope.serving.explanations import Explainer
from convscope.serving.http_errors import HTTPError, quote
from convscope.serving.service import Service, draw_filters
from convscope.serving.uploads import Upload, is_form, parse_uploads

DAY_MILLISECONDS = 86_400_000
INLINE_BYTES = 256 * 1024  # a smaller form is parsed on the event loop: a thread would take longer

BINARY = {"schema": {"type": "string", "format": "binary"}}
FILES = {"schema": {"type": "object", "properties": {"file": {"type": "array", "items": BINARY["schema"]}}}}
BODY = {
    "requestBody": {
        "required": True,
        "description": "One image as the body, of any type but multipart; or files in a form.",
        "content": {"application/octet-stream": BINARY, "image/*": BINARY, "multipart/form-data": FILES},
    }
}
ERROR_DESCRIPTIONS = {
    400: "A body that cannot be parsed",
    401: "No API key, or a wrong one",
    404: "The model does not have this",
    408: "A body that arrives too slowly",
    413: "A body that is too large",
    415: "Not an image, or a damaged one",
    422: "An invalid parameter, or an invalid number of images",
    503: "Overloaded: see Retry-After",
    504: "The deadline passed",
}

router = APIRouter()


def describe_errors(*statuses: int, model: type[BaseModel] = schemas.ErrorResponse) -> dict[int | str, dict[str, Any]]:
    """Error statuses as FastAPI's `responses` takes them for the OpenAPI description."""
    retry_after = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    return {
        status: {"model": model, "description": ERROR_DESCRIPTIONS[status]}
        | ({"headers": retry_after} if status >= 503 else {})
        for status in statuses
    }


def service_of(request: Request) -> Service:
    """The service that a request was sent to."""
    service: Service = request.app.state.service
    return service


Deadline = Annotated[
    int | None,
    Header(alias="X-Deadline-Ms", ge=1, le=DAY_MILLISECONDS, description="a deadline shorter than the service's"),
]


@asynccontextmanager
async def read_uploads(request: Request, *, max_images: int) -> AsyncIterator[list[Upload]]:
    """The files of a request; it is rejected before its body is read if the queue is full."""
    service = service_of(request)
    service.batcher.check_capacity([0], service.deadline(None))
    async with service.bodies.read(request) as body:
        if is_form(request) and len(body) > INLINE_BYTES:
            yield await asyncio.to_thread(parse_uploads, request, body, max_images=max_images)
        else:
            yield parse_uploads(request, body, max_images=max_images)


@router.post(
    "/predict",
    response_model=schemas.PredictResponse,
    responses=describe_errors(400, 401, 408, 413, 415, 422, 503, 504),
    openapi_extra=BODY,
)
async def predict(request: Request, milliseconds: Deadline = None) -> Response:
    """Classify one image, or each file of a form."""
    service = service_of(request)
    async with read_uploads(request, max_images=service.max_images) as files:
        outcomes = await service.batcher.process([file.data for file in files], deadline=service.deadline(milliseconds))
        names = [file.name for file in files]
    if len(outcomes) == 1:
        check_readable(outcomes[0])
    predictions = [
        format_prediction(name, outcome, service.bundle.classes) for name, outcome in zip(names, outcomes, strict=True)
    ]
    return JSONResponse({"predictions": predictions, "model": {"name": service.name, "version": service.version}})


@router.post(
    "/explain",
    response_model=schemas.ExplainResponse,
    responses=describe_errors(400, 401, 404, 408, 413, 415, 422, 503, 504)
    | {200: {"content": {"image/png": BINARY}, "description": "JSON, or the heat map over the image as a PNG file"}},
    openapi_extra=BODY,
)
async def explain(
    request: Request,
    class_name: Annotated[str | None, Query(alias="class", description="of the heat map [predicted class]")] = None,
    milliseconds: Deadline = None,
) -> Response:
    """Explain the prediction for one image: heat map, activations of each block, similar training images."""
    service = service_of(request)
    inside = service.require_inside()
    if class_name is not None and class_name not in service.bundle.classes:
        raise _unknown_class(class_name, service.bundle.classes)
    as_png = "image/png" in request.headers.get("accept", "")
    explainer = Explainer(inside, service.neighbours, class_name, as_png)
    async with read_uploads(request, max_images=1) as (file,):
        deadline = service.deadline(milliseconds)
        (outcome,) = await service.batcher.process([file.data], deadline=deadline, function=explainer)
    check_readable(outcome)
    if as_png:
        return Response(outcome, media_type="image/png")
    return JSONResponse({"file": file.name, **outcome})


@router.get("/filters", response_model=schemas.FiltersResponse, responses=describe_errors(401, 404))
def filters(request: Request) -> Response:
    """The filters of the first convolution."""
    return JSONResponse(draw_filters(service_of(request).require_inside()))


@router.get("/info", response_model=schemas.InfoResponse, responses=describe_errors(401))
async def info(request: Request) -> Response:
    """The metadata of the model, and the limits of a request."""
    return JSONResponse(service_of(request).to_json())


@router.get("/health", response_model=schemas.StatusResponse)
async def health() -> Response:
    """Liveness: the service responds."""
    return JSONResponse({"status": "ok"})


@router.get("/ready", response_model=schemas.StatusResponse, responses=describe_errors(503))
async def ready(request: Request) -> Response:
    """Readiness: the model is loaded, and the service is neither overloaded nor shutting down."""
    service = service_of(request)
    service.bodies.check_accepting()
    service.batcher.check_capacity([0], service.deadline(None))
    return JSONResponse({"status": "ok"})


@router.get(
    "/metrics",
    response_class=Response,
    responses=describe_errors(401) | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Metrics of the service in Prometheus' text format."""
    return Response(service_of(request).metrics.to_text(), media_type=CONTENT_TYPE_LATEST)


def check_readable(outcome: Any) -> None:
    """Check that an image could be read.

    Raises:
        HTTPError: 415, with the reason why it could not.
    """
    if isinstance(outcome, ImageRefused):
        raise _unreadable(outcome)


def format_prediction(name: str, outcome: Any, classes: tuple[str, ...]) -> dict[str, Any]:
    """One `Prediction`: the probabilities (classes,) float32 of a file, or its ImageRefused, as JSON."""
    if isinstance(outcome, ImageRefused):
        return {
            "file": name,
            "label": None,
            "confidence": None,
            "status": "unreadable",
            "error": str(outcome),
            "probabilities": {},
        }
    predicted = int(outcome.argmax())
    probabilities = outcome.tolist()
    return {
        "file": name,
        "label": classes[predicted],
        "confidence": probabilities[predicted],
        "status": "ok",
        "error": "",
        "probabilities": dict(zip(classes, probabilities, strict=True)),
    }


def _unknown_class(name: str, classes: tuple[str, ...]) -> HTTPError:
    return HTTPError(
        422, found=f"class {quote(name)!r}", expected=f"one of {quote(', '.join(classes))}", fix="see GET /info"
    )


def _unreadable(reason: ImageRefused) -> HTTPError:
    return HTTPError(
        415,
        found=f"an image that cannot be used: {reason}",
        expected="an intact JPEG, PNG, WebP, BMP, GIF or TIFF file",
        fix="send the bytes of such a file, or convert the image",
    )
