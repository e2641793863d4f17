"""What the service says, as its OpenAPI description has it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class Part(BaseModel):
    """What was found, what was expected, how to mend it."""

    found: str
    expected: str
    fix: str


class Problem(BaseModel):
    """A request that was not answered."""

    error: Part


class Model(BaseModel):
    """Which model answered."""

    name: str
    version: str


class Prediction(BaseModel):
    """What the model says of one file; without a label where it could not be read, for the reason in `error`."""

    file: str
    label: str | None
    confidence: float | None
    status: Literal["ok", "unreadable"]
    error: str
    probabilities: dict[str, float]


class Predictions(BaseModel):
    """One prediction for each file, in their order."""

    predictions: list[Prediction]
    model: Model


class Block(BaseModel):
    """What a block of the network sees: a grey grid of all its channels as a PNG in a data URI."""

    name: str
    height: int
    width: int
    channels: int
    columns: int
    picture: str


class Neighbour(BaseModel):
    """A training image that the image is like: a small PNG in a data URI, its class, the cosine of their features."""

    picture: str
    label: str
    similarity: float


class Explanation(BaseModel):
    """Why the model answers so: what speaks for `class` where, as a layer over the image, and what each block sees.

    `neighbours`: the most similar training images, best first; none where the model does not carry any.
    """

    file: str
    label: str
    confidence: float
    probabilities: dict[str, float]
    class_name: str = Field(alias="class")
    image: str
    heatmap: str
    blocks: list[Block]
    neighbours: list[Neighbour]


class Filters(BaseModel):
    """The filters of the first convolution: a grid as a PNG in a data URI."""

    name: str
    count: int
    columns: int
    height: int
    width: int
    picture: str


class Limits(BaseModel):
    """How much one request may hold."""

    max_bytes: int
    max_images: int


class Info(BaseModel):
    """What the model says of itself; null where it does not."""

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


class State(BaseModel):
    """`ok`, or what is the matter."""

    status: str


class Instances(BaseModel):
    """A request as TensorFlow Serving's clients send it."""

    instances: list[dict[str, Any]]
    signature_name: str = "serving_default"


class Rows(BaseModel):
    """The probabilities of each instance, in the order of the classes."""

    predictions: list[list[float]]


class VersionState(BaseModel):
    """The state of one version, in TensorFlow Serving's words."""

    version: str
    state: str
    status: dict[str, str]


class ModelStatus(BaseModel):
    """The state of a model, in TensorFlow Serving's words."""

    model_version_status: list[VersionState]


class PlainProblem(BaseModel):
    """A request that was not answered, in TensorFlow Serving's words."""

    error: str
