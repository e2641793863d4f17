"""TensorFlow Serving's REST interface, so that its clients work unchanged: base64 in, rows of probabilities out."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from convscope.errors import ImageRefused
from convscope.serving import schemas as answers
from convscope.serving.http_errors import Refusal, shown
from convscope.serving.routes import Deadline, refusals, service_of
from convscope.serving.service import Service
from convscope.serving.uploads import instances_of

VERSION = "1"  # there is only one at a time
BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": answers.Instances.model_json_schema()}},
    }
}
Name = Annotated[str, Path(description="the model's name, as GET /info has it")]

router = APIRouter(prefix="/v1/models")


@router.post(
    "/{name}/versions/" + VERSION + ":predict",
    include_in_schema=False,
)
@router.post(
    "/{name}:predict",
    response_model=answers.Rows,
    responses=refusals(400, 401, 404, 408, 413, 422, 503, 504, model=answers.PlainProblem),
    openapi_extra=BODY,
)
async def predict_instances(request: Request, name: Name, milliseconds: Deadline = None) -> Response:
    """Classify images that are sent as `{"b64": ...}`, or as the only input of a signature."""
    service = service_of(request)
    check_name(service, name)
    service.batcher.check_room([0], service.deadline(None))
    async with service.room.body(request) as body:
        images = await asyncio.to_thread(instances_of, body, most=service.most_images)
        outcomes = await service.batcher.answer(images, deadline=service.deadline(milliseconds))
    for place, outcome in enumerate(outcomes):
        if isinstance(outcome, ImageRefused):
            raise _unreadable(place, outcome)
    return JSONResponse({"predictions": [outcome.tolist() for outcome in outcomes]})


@router.get("/{name}/versions/" + VERSION, include_in_schema=False)
@router.get(
    "/{name}",
    response_model=answers.ModelStatus,
    responses=refusals(401, 404, 422, model=answers.PlainProblem),
)
async def model_status(request: Request, name: Name) -> Response:
    """Whether the model is there."""
    check_name(service_of(request), name)
    state = {"version": VERSION, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return JSONResponse({"model_version_status": [state]})


def check_name(service: Service, name: str) -> None:
    """Do nothing where this is the model that is served.

    Raises:
        Refusal: 404, it is not.
    """
    if name != service.name:
        raise _unknown_model(name, service)


def _unreadable(place: int, reason: ImageRefused) -> Refusal:
    return Refusal(
        400,
        found=f"instances[{place}] is an image that cannot be used: {reason}",
        expected="the bytes of an image file, whole",
        fix="leave it out, or convert it",
    )


def _unknown_model(name: str, service: Service) -> Refusal:
    return Refusal(
        404, found=f"no model {shown(name)!r}", expected=f"{service.name!r}", fix=f"the model here is {service.name!r}"
    )
