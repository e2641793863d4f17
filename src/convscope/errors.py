"""Every error that a user can meet: what was found, what was expected, and how to fix it.

    ConvscopeError
    ├── RecipeError        a choice that cannot be made
    ├── FolderError        a data set that cannot be trained or evaluated on
    ├── CacheError         decoded images that cannot be kept
    ├── RunError           a run folder that is missing, taken, or damaged
    ├── BundleError        a model file that cannot be used
    ├── ExportError        a model that cannot be converted, or whose export is less accurate
    └── MissingExtra       an optional dependency that is not installed

`Interrupted` is not in the tree: work that was stopped on request has not failed. Neither is `ImageRefused`: one bad
image is a row in a table, never the end of the work.

The texts name parameters in backticks: choose another `out`. The command line turns these into its flags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

EXTRA_OF_MODULE: Mapping[str, str] = {  # by the name that is imported
    **dict.fromkeys(("jinja2", "matplotlib"), "explain"),
    "pyarrow": "parquet",
    **dict.fromkeys(("fastapi", "multipart", "prometheus_client", "python_multipart", "starlette", "uvicorn"), "serve"),
    "tensorboard": "tensorboard",
    **dict.fromkeys(("keras", "onnx", "sklearn", "tensorflow", "tf2onnx", "tomli_w"), "train"),
}


class ConvscopeError(Exception):
    """The root of the tree.

    Attributes:
        found: what is there, with its path or its value.
        expected: what should be there.
        fix: what the user can do about it.
    """

    def __init__(self, *, found: str, expected: str, fix: str) -> None:
        super().__init__(f"found: {found}; expected: {expected}; fix: {fix}")
        self.found = found
        self.expected = expected
        self.fix = fix


class RecipeError(ConvscopeError):
    """A recipe, or a change to it, requests something that cannot be done."""


class FolderError(ConvscopeError):
    """The images as a whole cannot be trained or evaluated on."""


class CacheError(ConvscopeError):
    """The decoded images cannot be kept: no space, no permission."""


class RunError(ConvscopeError):
    """A run folder is missing, taken, of another format, or damaged."""


class BundleError(ConvscopeError):
    """A model file is missing, damaged, or not written by convscope."""


class ExportError(ConvscopeError):
    """A model cannot be converted, or its export is less accurate than it is."""


class MissingExtra(ConvscopeError):
    """A command or function needs an optional dependency that is not installed."""

    def __init__(self, *, command: str, module: str, extra: str) -> None:
        super().__init__(
            found=f"{command} needs the Python module {module!r}, which is not installed",
            expected=f"convscope with its extra [{extra}]",
            fix=f"pip install 'convscope[{extra}]'",
        )


@contextmanager
def optional_imports(*, command: str, extra: str | None = None) -> Iterator[None]:
    """Raise MissingExtra if an import in the block fails because a module of an extra is not installed.

    Any other ImportError passes unchanged: the module is one that every installation has, or is there but broken.

    Args:
        command: what needs the module, such as `convscope train`.
        extra: the extra to install; None: the one that brings the module (`EXTRA_OF_MODULE`).

    Raises:
        MissingExtra: a module of an extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = error.name or ""
        if module not in EXTRA_OF_MODULE:
            raise
        raise MissingExtra(command=command, module=module, extra=extra or EXTRA_OF_MODULE[module]) from None


class Interrupted(Exception):
    """The user or the system requested a stop, and everything done so far is saved.

    Attributes:
        position: where the work stopped, such as `step 120 of 600`.
        saved: what is saved, and where.
        resume: the arguments with which the same function continues, by parameter name.
    """

    def __init__(self, *, position: str, saved: str, resume: Mapping[str, Any]) -> None:
        super().__init__(f"stopped: {position}; saved: {saved}; resume with {dict(resume)}")
        self.position = position
        self.saved = saved
        self.resume = dict(resume)


class ImageRefused(Exception):
    """One image cannot be used; the message is the reason, in a few words for a table."""
