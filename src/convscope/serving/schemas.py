"""The JSON bodies of requests and responses, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class ErrorDetail(BaseModel):
    """What was found, what was expected, how to fix it."""

    found: str
    expected: str
    fix: str


class ErrorResponse(BaseModel):
    """The body of an error response."""

    error: ErrorDetail


class ModelVersion(BaseModel):
    """The model that made the predictions."""

    name: str
    version: str


class Prediction(BaseModel):
    """The prediction for one file; without a label where the image is unreadable, for the reason in `error`."""

    file: str
    label: str | None
    confidence: float | None
    status: Literal["ok", "unreadable"]
    error: str
    probabilities: dict[str, float]


class PredictResponse(BaseModel):
    """One prediction for each file, in the order of the files."""

    predictions: list[Prediction]
    model: ModelVersion


class BlockActivations(BaseModel):
    """The activations of one block: a grey grid of all its channels as a PNG in a data URI."""

    name: str
    height: int
    width: int
    channels: int
    columns: int
    picture: str


class SimilarImage(BaseModel):
    """A similar training image: a small PNG in a data URI, its class, the cosine similarity of the features."""

    picture: str
    label: str
    similarity: float


class ExplainResponse(BaseModel):
    """The heat map for `class`, as a layer over the image, and the activations of each block.

    `neighbours`: the most similar training images, most similar first; empty where the model has no neighbour index.
    """

    file: str
    label: str
    confidence: float
    probabilities: dict[str, float]
    class_name: str = Field(alias="class")
    image: str
    heatmap: str
    blocks: list[BlockActivations]
    neighbours: list[SimilarImage]


class FiltersResponse(BaseModel):
    """The filters of the first convolution: a grid as a PNG in a data URI."""

    name: str
    count: int
    columns: int
    height: int
    width: int
    picture: str


class Limits(BaseModel):
    """The limits of one request."""

    max_bytes: int
    max_images: int


class InfoResponse(BaseModel):
    """The metadata of the model, null where the model has none, and the limits of a request."""

    name: str
    version: str
    task: str | None
    network: str | None
    classes: list[str]
    image_size: int
    channels: int
    fit: str
    date: str | None
    license: str | None
    metrics: dict[str, Any] | None
    data: dict[str, Any] | None
    inside: bool
    neighbours: bool
    limits: Limits


class StatusResponse(BaseModel):
    """`ok`."""

    status: str


class TensorFlowPredictRequest(BaseModel):
    """A predict request of TensorFlow Serving, in row format."""

    instances: list[dict[str, Any]]
    signature_name: str = "serving_default"


class TensorFlowPredictResponse(BaseModel):
    """The probabilities of each instance, in the order of the classes."""

    predictions: list[list[float]]


class ModelVersionStatus(BaseModel):
    """The status of one version, in TensorFlow Serving's format."""

    version: str
    state: str
    status: dict[str, str]


class ModelStatusResponse(BaseModel):
    """The status of a model, in TensorFlow Serving's format."""

    model_version_status: list[ModelVersionStatus]


class TensorFlowErrorResponse(BaseModel):
    """The body of an error response, in TensorFlow Serving's format."""

    error: str
