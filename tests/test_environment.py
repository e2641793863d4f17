"""environment.py: the software and hardware of a run, and the command that runs `convscope` here."""

from __future__ import annotations

from pathlib import Path

import pytest

from convscope.environment import available_cores, describe_environment, program_name


@pytest.mark.parametrize(
    ("program", "is_on_path", "name"),
    [
        (".venv/bin/convscope", False, ".venv/bin/convscope"),
        ("my tools/convscope", False, "'my tools/convscope'"),
        (".venv/bin/convscope", True, "convscope"),
        ("/usr/lib/python3/convscope/__main__.py", False, "convscope"),
    ],
)
def test_printed_commands_can_be_typed(
    program: str, is_on_path: bool, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They begin with the name of the program where the shell finds it, else with its path."""
    if is_on_path:
        (tmp_path / "convscope").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [program])
    assert program_name() == name


def test_environment_names_cores_and_versions(tmp_path: Path) -> None:
    """environment.json has what measurements depend on: cores, processor, versions."""
    facts = describe_environment(tmp_path)
    assert facts["cores"] == available_cores() >= 1
    assert {"numpy", "pillow"} <= facts["libraries"].keys()
    assert facts["data"] == str(tmp_path)
