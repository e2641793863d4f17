"""convscope: from a folder of images to a convolutional classifier that you can train, trust, see inside of, and ship.

The names below are loaded on first use: `import convscope` loads neither TensorFlow nor Matplotlib.
"""

from __future__ import annotations

import importlib
from typing import Any

from convscope.errors import optional_imports

__version__ = "0.1.0"

_MODULE_OF = {
    # the functions that the commands call
    "train": "convscope.training.training",  # folder of images -> run folder with a model
    "evaluate": "convscope.evaluation.evaluation",  # model, labelled images -> metrics with intervals
    "explain": "convscope.explanation.explanation",  # run -> figures and report.html
    "predict": "convscope.prediction.prediction",  # model, images -> table with one row per image
    "merge": "convscope.prediction.merging",  # tables of shards -> one table
    "verify": "convscope.bundle.verification",  # whether a model predicts here as on the machine that wrote it
    "export": "convscope.exporting.exporting",  # run -> int8 ONNX, LiteRT, or SavedModel
    "serve": "convscope.serving.serving",  # model -> HTTP service
    "demo": "convscope.demonstration",  # all of this on handwritten digits
    # what they take and return
    "Recipe": "convscope.recipe.recipe",  # the choices for a training
    "ResolvedRecipe": "convscope.recipe.resolved",  # the same, complete
    "Run": "convscope.run",  # a run folder
    "Table": "convscope.prediction.rows",  # the format and columns of a table of predictions
    "Shard": "convscope.prediction.provenance",  # one of N equal shares of the images to predict
    "ServiceSettings": "convscope.serving.settings",  # queue, deadline, API key, CORS origin
    # their steps, for your own programs
    "read_image": "convscope.images.image_reader",  # file or bytes -> uint8 array
    "Dataset": "convscope.datasets.dataset",  # images decoded, grouped and split
    "open_dataset": "convscope.datasets.dataset",  # folder of images -> Dataset
    "resolve": "convscope.recipe.resolved",  # Recipe -> ResolvedRecipe
    "Learner": "convscope.training.learner",  # a training, one step at a time
    "save_bundle": "convscope.training.bundle_export",  # Learner -> model
    "configure_tensorflow": "convscope.networks.framework_setup",  # once, before a process trains
    "open_run": "convscope.run",  # path -> Run
    "Bundle": "convscope.bundle.bundle",  # a model: ONNX graph and metadata
    "open_bundle": "convscope.bundle.bundle",  # path -> Bundle, verified
    "open_introspection": "convscope.bundle.introspection",  # path -> activations and heat maps of a model
    "Progress": "convscope.progress",  # how far a piece of work is
    "report_progress": "convscope.progress",  # calls your function with each Progress
    # what they raise
    "ConvscopeError": "convscope.errors",  # the base of the seven below
    "RecipeError": "convscope.errors",  # a choice that cannot be made
    "FolderError": "convscope.errors",  # images that cannot be trained or evaluated on
    "CacheError": "convscope.errors",  # decoded images that cannot be kept
    "RunError": "convscope.errors",  # a run folder that is missing, taken, or damaged
    "BundleError": "convscope.errors",  # a model file that cannot be used
    "ExportError": "convscope.errors",  # a model that cannot be converted
    "MissingExtra": "convscope.errors",  # an optional dependency that is not installed
    "Interrupted": "convscope.errors",  # stopped by a signal, with everything saved; no ConvscopeError
    "ImageRefused": "convscope.errors",  # one image that cannot be used; no ConvscopeError
}
__all__ = ["__version__", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with optional_imports(command=f"convscope.{name}"):
        return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
