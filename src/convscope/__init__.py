"""convscope: from a folder of images to a convolutional classifier that you can train, trust, see inside of, and ship.

The names below are loaded on first use: `import convscope` loads neither TensorFlow nor Matplotlib.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Recipe": "convscope.recipe",
    "Run": "convscope.run",
    "open_run": "convscope.run",
    "Dataset": "convscope.data.dataset",
    "open_dataset": "convscope.data.dataset",
    "read_image": "convscope.data.image",
    "train": "convscope.training.training",
    "Learner": "convscope.training.learner",
    "evaluate": "convscope.evaluation.evaluation",
    "explain": "convscope.explanation.explanation",
    "predict": "convscope.deployment.prediction",
    "Table": "convscope.deployment.rows",
    "Shard": "convscope.deployment.origin",
    "merge": "convscope.deployment.merging",
    "serve": "convscope.deployment.serving.serving",
    "ServiceSettings": "convscope.deployment.serving.service",
    "Bundle": "convscope.deployment.bundle",
    "open_bundle": "convscope.deployment.bundle",
    "verify": "convscope.deployment.verification",
    "export": "convscope.deployment.exporting.exporting",
    "open_inside": "convscope.deployment.inside",
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
