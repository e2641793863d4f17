"""__main__.py, cli/commands.py: signals end the program with `stopped`, from its first moment; help fits 80 columns."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from PIL import Image
from processes import Command, CommandResult, run_python
from sample_images import draw
from tiny_model import colour_model

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
STOP_AT = """
import signal, sys
signal.signal(signal.{number}, signal.{handler})
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            signal.raise_signal(signal.{number})
sys.meta_path.insert(0, Stop())
from convscope.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "module", ["convscope.cli.commands", "typer", "rich", "convscope.prediction.prediction", "onnxruntime"]
)
def test_stop_during_an_import_is_quiet(tmp_path: Path, module: str, number: str) -> None:
    """Whatever is being imported when the signal comes: `stopped`, 130, and no traceback.

    Rests on the file name that CPython gives to the frames of an import: where that has changed, an import in C may
    turn the interruption into an ImportError.
    """
    handler = "default_int_handler" if number == "SIGINT" else "SIG_DFL"
    Image.fromarray(draw("disc", 12, 1)).save(tmp_path / "a.png")
    arguments = ["predict", colour_model().write(tmp_path / "m.onnx"), tmp_path / "a.png"]
    result = run_python(STOP_AT.format(number=number, handler=handler, module=module), *arguments)
    assert result == CommandResult(130, "", "stopped\n")


STOP_IN_A_FINALISER = """
import signal, sys, time, types
signal.signal(signal.{number}, signal.{handler})
class Freed:
    def __del__(self):
        {raised}
def work():
    Freed()
    time.sleep({seconds})
sys.modules["convscope.cli.commands"] = types.SimpleNamespace(main=work)
from convscope.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_stop_in_a_finaliser_stops_the_work(number: str) -> None:
    """Python drops what is raised while an object is freed; the work that follows is stopped all the same."""
    handler = "default_int_handler" if number == "SIGINT" else "SIG_DFL"
    raised = f"signal.raise_signal(signal.{number})"
    result = run_python(STOP_IN_A_FINALISER.format(number=number, handler=handler, raised=raised, seconds=60))
    assert result == CommandResult(130, "", "stopped\n")


def test_other_errors_in_a_finaliser_are_printed() -> None:
    """As Python prints them."""
    values = {"number": "SIGINT", "handler": "default_int_handler", "raised": "raise ValueError('odd')", "seconds": 0}
    result = run_python(STOP_IN_A_FINALISER.format(**values))
    assert result.code == 0
    assert "ValueError: odd" in result.err


@pytest.mark.slow
def test_ignored_signal_stays_ignored() -> None:
    """If Ctrl-C is ignored, as by nohup and a shell's `&`, it stops nothing."""
    result = run_python(STOP_AT.format(number="SIGINT", handler="SIG_IGN", module="typer"), "--version")
    assert (result.code, result.err) == (0, "")


def test_nothing_heavy_loads_before_the_signal_handlers() -> None:
    """The installed command calls `main` of `__main__`, which imports little."""
    scripts = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"convscope": "convscope.__main__:main"}
    result = run_python("import sys, convscope.__main__; print(*sys.modules)")
    assert set(result.out.split()).isdisjoint({"typer", "rich", "json", "pathlib", "convscope.cli.commands"})


@pytest.mark.tensorflow
@pytest.mark.parametrize("was_enabled", [True, False])
def test_loaded_objects_are_frozen_for_the_garbage_collector(tmp_path: Path, was_enabled: bool) -> None:
    """Also if loading failed; if nothing new was loaded, nothing changes."""
    (tmp_path / "heavy.py").write_text("import gc\nprint(gc.isenabled())\nstays = [[] for _ in range(1000)]\n")
    code = f"""
import gc, sys
from convscope.cli.commands import loading_tensorflow
sys.path.insert(0, {str(tmp_path)!r})
(gc.enable if {was_enabled} else gc.disable)()
for _ in range(2):
    before = gc.get_freeze_count()
    try:
        with loading_tensorflow():
            import heavy
            raise ImportError
    except ImportError:
        print(gc.isenabled(), gc.get_freeze_count() - before > 1000)
"""
    assert run_python(code).out.split() == ["False", str(was_enabled), "True", str(was_enabled), "False"]


@pytest.mark.tensorflow
@pytest.mark.slow
def test_train_freezes_what_tensorflow_made(photos: Path, tmp_path: Path) -> None:
    """Its hundreds of thousands of objects are not examined by garbage collection while training."""
    code = (
        "import gc\nfrom convscope.cli.commands import main\n"
        "try: main()\nfinally: print(gc.get_freeze_count() > 200_000)"
    )
    arguments = ["train", photos, "--network", "classic", "--steps", 1, "--out", tmp_path / "run"]
    assert run_python(code, *arguments).out.split() == [str(tmp_path / "run"), "True"]


def names_of_commands() -> list[str]:
    """Every command, and the names of groups."""
    import typer

    from convscope.cli.commands import app

    root = typer.main.get_command(app)
    groups = {name: command for name, command in root.commands.items() if hasattr(command, "commands")}
    return ["", *root.commands, *(f"{name} {inner}" for name, group in groups.items() for inner in group.commands)]


@pytest.mark.slow
@pytest.mark.parametrize("name", names_of_commands())
def test_help_fits_80_columns(name: str, cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain text without escape sequences; `-h` and `--help` are the same."""
    monkeypatch.setenv("COLUMNS", "80")
    result = cli(*name.split(), "--help")
    assert result == cli(*name.split(), "-h")
    assert (result.code, result.err) == (0, "")
    assert max(map(len, result.out.splitlines())) <= 80
    assert "\x1b" not in result.out


def test_list_of_commands_is_complete_and_uncut(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """`convscope -h` has a complete sentence for every command."""
    monkeypatch.setenv("COLUMNS", "80")
    _, _, listed = cli("-h").out.partition("Commands:\n")
    lines = dict(line.split(None, 1) for line in listed.splitlines())
    assert [*lines] == [name for name in names_of_commands() if name and " " not in name]
    assert all(line.endswith(".") and not line.endswith("...") for line in lines.values())


def test_version_is_printed(cli: Command) -> None:
    """`--version`, on standard output."""
    import convscope

    assert cli("--version") == CommandResult(0, f"convscope {convscope.__version__}\n", "")
