"""environment.py: what a run depends on besides its recipe, and what to type for `convscope` here."""

from __future__ import annotations

from pathlib import Path

import pytest

from convscope.environment import available_cores, describe_environment, program_name


@pytest.mark.parametrize(
    ("called", "is_on_path", "said"),
    [
        (".venv/bin/convscope", False, ".venv/bin/convscope"),
        ("my tools/convscope", False, "'my tools/convscope'"),
        (".venv/bin/convscope", True, "convscope"),
        ("/usr/lib/python3/convscope/__main__.py", False, "convscope"),
    ],
)
def test_commands_that_are_told_can_be_typed(
    called: str, is_on_path: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A printed command begins with what the shell finds here: the name, or the path it was called by."""
    if is_on_path:
        (tmp_path / "convscope").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [called])
    assert program_name() == said


def test_environment_names_cores_and_versions(tmp_path: Path) -> None:
    """What a figure may depend on stands in environment.json: cores, processor, versions."""
    facts = describe_environment(tmp_path)
    assert facts["cores"] == available_cores() >= 1
    assert {"numpy", "pillow"} <= facts["libraries"].keys()
    assert facts["data"] == str(tmp_path)
