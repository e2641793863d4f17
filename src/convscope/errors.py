"""Every error that a user can meet: what was found, what was expected, how to mend it.

    ConvscopeError
    ├── RecipeError        a choice that cannot be made
    ├── FolderError        a data set that cannot be trained on or judged
    ├── CacheError         decoded images that cannot be kept
    ├── RunError           a run folder that is missing, taken, or damaged
    ├── BundleError        a model file that cannot be used
    ├── ExportError        a model that cannot be converted, or whose export answers worse than it
    └── MissingExtra       a part of convscope that is not installed

`Interrupted` stands apart: work that was stopped on request is no error. So does `ImageRefused`: one bad image is a row
in a table, never the end of the work.

The texts speak of parameters, in backticks: `choose another `out``. The command line turns them into its flags.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ConvscopeError(Exception):
    """The root of the tree. `exit_code` is what the command line ends with."""

    exit_code = 2

    def __init__(self, *, found: str, expected: str, fix: str) -> None:
        super().__init__(f"found: {found}; expected: {expected}; fix: {fix}")
        self.found = found
        self.expected = expected
        self.fix = fix


class RecipeError(ConvscopeError):
    """A recipe, or a flag over it, says something that cannot be done."""


class FolderError(ConvscopeError):
    """The images as a whole cannot be trained on or judged."""


class CacheError(ConvscopeError):
    """The decoded images cannot be kept: no room, no permission."""


class RunError(ConvscopeError):
    """A run folder is missing, taken, of another format, or damaged."""


class BundleError(ConvscopeError):
    """A model file is missing, damaged, or not one of convscope's."""


class ExportError(ConvscopeError):
    """A model cannot be converted, or its export is not as good as it is."""


class MissingExtra(ConvscopeError):
    """A command needs a part of convscope that is not installed."""

    def __init__(self, *, command: str, module: str, extra: str) -> None:
        super().__init__(
            found=f"{command} needs the Python module {module!r}, which is not installed",
            expected=f"convscope with its extra [{extra}]",
            fix=f"pip install 'convscope[{extra}]'",
        )


class Interrupted(Exception):
    """The user or the system asked to stop, and everything done so far is saved.

    Attributes:
        position: where the work was, such as `step 120 of 600`.
        saved: what is kept, and where.
        resume: the arguments by which the same function goes on, by the names of its parameters.
    """

    def __init__(self, *, position: str, saved: str, resume: Mapping[str, Any]) -> None:
        super().__init__(f"stopped at {position}; saved: {saved}; resume with {dict(resume)}")
        self.position = position
        self.saved = saved
        self.resume = dict(resume)


class ImageRefused(Exception):
    """One image cannot be used; the message is the reason, in a few words for a table."""
