"""Default values: one for each choice that a recipe leaves open, most of them by the kind of network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

Kind = Literal["classic", "compact", "pretrained", "custom"]

AUTO = "auto"  # the network is chosen once the images are known
EFFICIENTNET = "efficientnet-lite0"
KERAS = "keras:"  # before the name of a network of `keras.applications`

DEFAULT_EPOCHS: Mapping[Kind, int] = {"classic": 20, "compact": 20, "pretrained": 3, "custom": 20}
MIN_IMAGE_SIZES: Mapping[Kind, int] = {"classic": 8, "compact": 16, "pretrained": 32, "custom": 8}  # pixels

COMMON_DEFAULTS: Mapping[str, Any] = {
    "network": AUTO,
    "channels": 3,
    "fit": "stretch",
    "dense_units": 128,
    "validation": 0.16,
    "test": 0.0,
    "label_from_name": False,
    "max_refused": 0.05,
    "zoom": 0.0,
    "erase": 0.0,
    "shrink": True,
    "precision": "auto",
    "license": "",
    "seed": 0,
}
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
    "custom": {
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


def kind_of(network: str) -> Kind:
    """The kind of a network, by its name alone.

    Raises:
        ValueError: the name is neither that of a network nor of a function that can be imported.
    """
    if network == "classic":
        return "classic"
    if network == "compact":
        return "compact"
    if network == EFFICIENTNET or (network.startswith(KERAS) and network.removeprefix(KERAS).isidentifier()):
        return "pretrained"
    module, colon, function = network.partition(":")
    if colon and function.isidentifier() and all(name.isidentifier() for name in module.split(".")):
        return "custom"
    raise ValueError(network)


def describe_networks() -> str:
    """The values that `network` takes, as a phrase for messages."""
    return f"`{AUTO}`, `classic`, `compact`, `{EFFICIENTNET}`, `keras:NAME`, or `module:function` for a custom network"


def by_kind(field: str) -> dict[str, Any]:
    """A field's default value for each kind of network; empty where all kinds share one."""
    return {kind: DEFAULTS[kind][field] for kind in get_args(Kind) if field in DEFAULTS[kind]}


def complete(chosen: Mapping[str, Any], *, network: str) -> dict[str, Any]:
    """The values of every field but the length: those that were chosen, the defaults for the rest.

    Args:
        chosen: values by field, as far as they were chosen.
        network: the name of the network, whose kind the defaults follow.
    """
    kind = kind_of(network)
    values = {**COMMON_DEFAULTS, **DEFAULTS[kind], **chosen, "network": network}
    has_default_sizes = "sizes" not in chosen and "size_shares" not in chosen
    if has_default_sizes and values["image_size"] * min(values["sizes"], default=1.0) < MIN_IMAGE_SIZES[kind]:
        values |= {"sizes": (), "size_shares": ()}  # too small for progressive resizing
    return values
