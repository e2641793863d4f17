"""convscope: from a folder of images to a convolutional classifier that you can train, trust, see inside of, and ship.

The names below are loaded on first use: `import convscope` loads neither TensorFlow nor Matplotlib.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Recipe": "convscope.recipe.recipe",
    "Run": "convscope.run",
    "open_run": "convscope.run",
    "Dataset": "convscope.datasets.dataset",
    "open_dataset": "convscope.datasets.dataset",
    "read_image": "convscope.images.reading",
    "train": "convscope.training.training",
    "Learner": "convscope.training.learner",
    "evaluate": "convscope.evaluation.evaluation",
    "explain": "convscope.explanation.explanation",
    "predict": "convscope.prediction.prediction",
    "Table": "convscope.prediction.rows",
    "Shard": "convscope.prediction.provenance",
    "merge": "convscope.prediction.merging",
    "serve": "convscope.serving.serving",
    "ServiceSettings": "convscope.serving.service",
    "Bundle": "convscope.bundle.bundle",
    "open_bundle": "convscope.bundle.bundle",
    "verify": "convscope.bundle.verification",
    "export": "convscope.exporting.exporting",
    "open_inside": "convscope.bundle.introspection",
    "demo": "convscope.demonstration",
    "ConvscopeError": "convscope.errors",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
