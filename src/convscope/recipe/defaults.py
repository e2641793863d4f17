"""What an expert would choose for each kind of network: a field of the recipe that is not said takes its value here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

Kind = Literal["classic", "compact", "pretrained", "own"]

AUTO = "auto"  # the network is chosen when the images are known
EFFICIENTNET = "efficientnet-lite0"
KERAS = "keras:"  # before the name of a network of `keras.applications`

DEFAULT_EPOCHS: Mapping[Kind, int] = {"classic": 20, "compact": 20, "pretrained": 3, "own": 20}
LEAST_SIZES: Mapping[Kind, int] = {"classic": 8, "compact": 16, "pretrained": 32, "own": 8}  # pixels

DEFAULTS: Mapping[Kind, Mapping[str, Any]] = {
    "classic": {
        "weights": "none",
        "image_size": 128,
        "filters": (32, 32, 64),
        "batch_size": 32,
        "optimizer": "adam",
        "learning_rate": 1e-4,
        "schedule": "constant",
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "flip": False,
        "shift": 0.0,
        "sizes": (),
        "size_shares": (),
        "patience": 5,
    },
    "compact": {
        "weights": "none",
        "image_size": 128,
        "filters": (32, 32, 64, 128, 256),
        "batch_size": 64,
        "optimizer": "muon",
        "learning_rate": 0.015,
        "schedule": "one-cycle",
        "weight_decay": 5e-4,
        "label_smoothing": 0.1,
        "flip": True,
        "shift": 0.1,
        "sizes": (0.5, 0.75),
        "size_shares": (0.52, 0.26),
        "patience": 0,
    },
    "pretrained": {
        "weights": "imagenet",
        "image_size": 224,
        "filters": (),
        "batch_size": 32,
        "optimizer": "lamb",
        "learning_rate": 2e-4,
        "schedule": "one-cycle",
        "weight_decay": 0.0,
        "label_smoothing": 0.0,
        "flip": True,
        "shift": 0.1,
        "sizes": (),
        "size_shares": (),
        "patience": 0,
    },
    "own": {
        "weights": "none",
        "image_size": 128,
        "filters": (),
        "batch_size": 64,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "schedule": "one-cycle",
        "weight_decay": 0.0,
        "label_smoothing": 0.1,
        "flip": True,
        "shift": 0.1,
        "sizes": (),
        "size_shares": (),
        "patience": 0,
    },
}


def kind_of(network: str) -> Kind | None:
    """The kind of a network by its name in a recipe; None for `auto`, which is not chosen yet.

    Raises:
        ValueError: there is no such network.
    """
    if network == AUTO:
        return None
    if network == "classic":
        return "classic"
    if network == "compact":
        return "compact"
    if network == EFFICIENTNET or (network.startswith(KERAS) and network.removeprefix(KERAS).isidentifier()):
        return "pretrained"
    module, colon, function = network.partition(":")
    if colon and function.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        return "own"
    raise ValueError(network)


def names_of_networks() -> str:
    """What may stand for a network in a recipe, for a person."""
    return f"`{AUTO}`, `classic`, `compact`, `{EFFICIENTNET}`, `keras:NAME`, or `module:function` of your own"


def by_kind(field: str) -> dict[str, Any]:
    """A field's default value for each kind of network; empty where it is the same for all."""
    return {kind: DEFAULTS[kind][field] for kind in get_args(Kind) if field in DEFAULTS[kind]}
