"""scripts/structure.py: what is out of the house's bounds is found, and the house is within them."""

from __future__ import annotations

from pathlib import Path

import pytest
import structure

ERRORS = '''"""Errors."""
class ConvscopeError(Exception):
    """The root."""
class FolderError(ConvscopeError):
    """A folder."""
def fail():
    raise FolderError(found="a", expected="b", fix="c")
def base():
    raise ConvscopeError(found="a", expected="b", fix="c")
'''


def problems_of(folder: Path, text: str, name: str = "module.py") -> list[str]:
    """The output of the script for a package with one more module."""
    (folder / "errors.py").write_text(ERRORS)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return list(structure.find_problems(folder))


@pytest.mark.slow
def test_the_house_is_within_its_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    """What `make lint` runs passes on the package itself."""
    assert structure.main(["--table"]) == 0
    assert "| training/ |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n" * 301, "module.py:1: 301 lines of code, more than 300"),
        ("def f():\n" + "    x = 1\n" * 60, "module.py:1: f has 61 lines, more than 60"),
        ("class A:\n    async def g(self):\n" + "        x = 1\n" * 60, "module.py:2: g has 61 lines, more than 60"),
        ("raise FolderError(found='a', fix='b')", "FolderError is made of expected, fix, found, by name"),
        ("raise FolderError(found='a', expected='', fix='b')", "FolderError with an empty expected"),
        ("raise Exception('x')", "module.py:1: raises Exception, which is none of convscope's errors"),
        ("raise lib.Strange('x')", "module.py:1: raises Strange, which is none of convscope's errors"),
    ],
)
def test_what_is_out_of_bounds_is_found(tmp_path: Path, text: str, expected: str) -> None:
    """Long modules and functions, errors without their parts, errors of others: each with its line."""
    (problem,) = problems_of(tmp_path, text)
    assert expected in problem


def test_code_in_a_package_is_found(tmp_path: Path) -> None:
    """A package's `__init__` is a docstring."""
    (problem,) = problems_of(tmp_path, "import os\n", "room/__init__.py")
    assert problem.startswith("room/__init__.py:1: a package's __init__ is a docstring")


def test_an_error_that_nobody_raises_is_found(tmp_path: Path) -> None:
    """A class that no user can meet is deleted."""
    problems_of(tmp_path, '"""Nothing."""\n')
    (tmp_path / "errors.py").write_text(ERRORS + 'class CacheError(ConvscopeError):\n    """A cache."""\n')
    assert list(structure.find_problems(tmp_path)) == ["errors.py:1: nothing raises CacheError"]


def test_comments_and_docstrings_are_not_counted(tmp_path: Path) -> None:
    """A module may explain itself as long as it likes."""
    assert problems_of(tmp_path, '"""Idea.\n' + "more\n" * 400 + '"""\n' + "# why\n\n" * 400 + "x = 1\n" * 300) == []
