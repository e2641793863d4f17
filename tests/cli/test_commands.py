"""__main__.py, cli/commands.py: whoever stops the program is told `stopped`, from its first moment on."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from commands import Ended, environment
from PIL import Image
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


def run(program: str, *words: object) -> Ended:
    """Run a program in a process of its own."""
    command = [sys.executable, "-c", program, *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment())
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    "module", ["convscope.cli.commands", "typer", "rich", "convscope.prediction.prediction", "onnxruntime"]
)
def test_stop_while_it_loads_is_plain(tmp_path: Path, module: str, number: str) -> None:
    """Whatever is being imported when the signal comes: `stopped`, 130, and no traceback."""
    handler = "default_int_handler" if number == "SIGINT" else "SIG_DFL"
    Image.fromarray(draw("disc", 12, 1)).save(tmp_path / "a.png")
    words = ["predict", colour_model().write(tmp_path / "m.onnx"), tmp_path / "a.png"]
    ended = run(STOP_AT.format(number=number, handler=handler, module=module), *words)
    assert ended == Ended(130, "", "stopped\n")


STOP_IN_A_FINALISER = """
import signal, sys, time, types
signal.signal(signal.{number}, signal.{handler})
class Freed:
    def __del__(self):
        {lost}
def work():
    Freed()
    time.sleep({seconds})
sys.modules["convscope.cli.commands"] = types.SimpleNamespace(main=work)
from convscope.__main__ import main
main()
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_stop_in_a_finaliser_stops_all_the_same(number: str) -> None:
    """Python lets go of what is raised where an object is freed; the work that follows is stopped, without a word."""
    handler = "default_int_handler" if number == "SIGINT" else "SIG_DFL"
    lost = f"signal.raise_signal(signal.{number})"
    ended = run(STOP_IN_A_FINALISER.format(number=number, handler=handler, lost=lost, seconds=60))
    assert ended == Ended(130, "", "stopped\n")


def test_other_errors_in_a_finaliser_are_told() -> None:
    """As Python tells them."""
    words = {"number": "SIGINT", "handler": "default_int_handler", "lost": "raise ValueError('odd')", "seconds": 0}
    ended = run(STOP_IN_A_FINALISER.format(**words))
    assert ended.code == 0
    assert "ValueError: odd" in ended.err


def test_ignored_signal_stays_ignored() -> None:
    """Where the person had Ctrl-C ignored, as nohup and a shell's `&` do, it stops nothing."""
    ended = run(STOP_AT.format(number="SIGINT", handler="SIG_IGN", module="typer"), "--version")
    assert (ended.code, ended.err) == (0, "")


def test_command_begins_where_it_can_be_stopped() -> None:
    """The installed command calls `main`, and nothing of weight is loaded before it."""
    scripts = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"convscope": "convscope.__main__:main"}
    ended = run("import sys, convscope.__main__; print(*sys.modules)")
    assert set(ended.out.split()).isdisjoint({"typer", "rich", "json", "pathlib", "convscope.cli.commands"})


@pytest.mark.parametrize("was_on", [True, False])
def test_what_is_loaded_for_good_is_no_garbage(tmp_path: Path, was_on: bool) -> None:
    """Python looks through it never again, also where loading failed; with nothing new, all goes on as before."""
    (tmp_path / "heavy.py").write_text("import gc\nprint(gc.isenabled())\nstays = [[] for _ in range(1000)]\n")
    code = f"""
import gc, sys
from convscope.cli.commands import loading_for_good
sys.path.insert(0, {str(tmp_path)!r})
(gc.enable if {was_on} else gc.disable)()
for _ in range(2):
    before = gc.get_freeze_count()
    try:
        with loading_for_good():
            import heavy
            raise ImportError
    except ImportError:
        print(gc.isenabled(), gc.get_freeze_count() - before > 1000)
"""
    assert run(code).out.split() == ["False", str(was_on), "True", str(was_on), "False"]


@pytest.mark.tensorflow
@pytest.mark.slow
def test_train_loads_tensorflow_for_good(photos: Path, tmp_path: Path) -> None:
    """Its hundreds of thousands of objects are out of the way before anything is trained."""
    code = (
        "import gc\nfrom convscope.cli.commands import main\n"
        "try: main()\nfinally: print(gc.get_freeze_count() > 200_000)"
    )
    words = ["train", photos, "--network", "classic", "--steps", 1, "--out", tmp_path / "run"]
    assert run(code, *words).out.split() == [str(tmp_path / "run"), "True"]
