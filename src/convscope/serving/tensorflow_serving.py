"""The REST API of TensorFlow Serving, so that its clients work unchanged: base64 in, rows of probabilities out."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from convscope.errors import ImageRefused
from convscope.serving import schemas
from convscope.serving.http_errors import HTTPError, quote
from convscope.serving.routes import Deadline, describe_errors, service_of
from convscope.serving.service import Service
from convscope.serving.uploads import parse_instances

VERSION = "1"  # a service has one version of one model
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": schemas.TensorFlowPredictRequest.model_json_schema()}},
    }
}
Name = Annotated[str, Path(description="the model's name, as GET /info returns it")]

router = APIRouter(prefix="/v1/models")


@router.post(
    "/{name}/versions/" + VERSION + ":predict",
    include_in_schema=False,
)
@router.post(
    "/{name}:predict",
    response_model=schemas.TensorFlowPredictResponse,
    responses=describe_errors(400, 401, 404, 408, 413, 422, 503, 504, model=schemas.TensorFlowErrorResponse),
    openapi_extra=BODY,
)
async def predict_instances(request: Request, name: Name, milliseconds: Deadline = None) -> Response:
    """Classify images that are sent as `{"b64": ...}`, or as the only input of a signature."""
    service = service_of(request)
    check_name(service, name)
    service.batcher.check_capacity([0], service.deadline(None))
    async with service.bodies.read(request) as body:
        images = await asyncio.to_thread(parse_instances, body, max_images=service.max_images)
        outcomes = await service.batcher.process(images, deadline=service.deadline(milliseconds))
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ImageRefused):
            raise _unreadable(index, outcome)
    return JSONResponse({"predictions": [outcome.tolist() for outcome in outcomes]})


@router.get("/{name}/versions/" + VERSION, include_in_schema=False)
@router.get(
    "/{name}",
    response_model=schemas.ModelStatusResponse,
    responses=describe_errors(401, 404, 422, model=schemas.TensorFlowErrorResponse),
)
async def model_status(request: Request, name: Name) -> Response:
    """Whether the model is available."""
    check_name(service_of(request), name)
    status = {"version": VERSION, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return JSONResponse({"model_version_status": [status]})


def check_name(service: Service, name: str) -> None:
    """Check that a request is for the model that is served.

    Raises:
        HTTPError: 404, it is for another one.
    """
    if name != service.name:
        raise _unknown_model(name, service)


def _unreadable(index: int, reason: ImageRefused) -> HTTPError:
    return HTTPError(
        400,
        found=f"instances[{index}] is an image that cannot be used: {reason}",
        expected="the bytes of an intact image file",
        fix="leave it out, or convert it",
    )


def _unknown_model(name: str, service: Service) -> HTTPError:
    return HTTPError(
        404, found=f"no model {quote(name)!r}", expected=f"{service.name!r}", fix=f"the model here is {service.name!r}"
    )
