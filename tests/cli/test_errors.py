"""cli/errors.py: each kind of exception ends a command with its message and its exit code; unexpected ones are bugs."""

from __future__ import annotations

import errno
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer
from processes import Command as RunCommand
from processes import CommandResult, finish, start
from unprivileged_user import UnprivilegedUser

from convscope.cli.errors import DISK_ERRORS, PATH_ERRORS, Command, Commands, describe_os_error
from convscope.errors import ConvscopeError, Interrupted

Body = Callable[[], None]
End = Callable[..., CommandResult]


@pytest.fixture
def end(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> End:
    """How `convscope work --out FILE` ends, if what it does is `body`."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def run(body: Body, *flags: str, out: Path = tmp_path / "out") -> CommandResult:
        app = typer.Typer(name="convscope", cls=Commands, rich_markup_mode=None, add_completion=False)

        @app.callback()
        def root(traceback: Annotated[bool, typer.Option("--traceback")] = False) -> None:
            pass

        @app.command(cls=Command)
        def work(out: Path, epochs: int = 1) -> None:  # noqa: ARG001
            body()

        @app.command(cls=Command)
        def rest() -> None:
            pass

        monkeypatch.setattr(sys, "argv", ["convscope", *flags, "work", str(out)])
        with pytest.raises(SystemExit) as exit:
            app()
        captured = capsys.readouterr()
        return CommandResult(int(exit.value.code or 0), captured.out, captured.err)

    return run


def raising(error: BaseException) -> Body:
    """A command's work that fails."""

    def body() -> None:
        raise error

    return body


def test_known_error_has_three_lines(end: End) -> None:
    """found, expected, fix, with parameters as flags; exit code 2."""
    error = ConvscopeError(found="`epochs=0`, a `thing`", expected="`epochs` above 0", fix="change `epochs`")
    assert end(raising(error)) == CommandResult(
        2, "", "found:    --epochs 0, a `thing`\nexpected: --epochs above 0\nfix:      change --epochs\n"
    )


def test_text_of_an_error_cannot_disturb_the_terminal(end: End) -> None:
    """Line feeds and escape sequences in a name are escaped: still three lines."""
    error = ConvscopeError(found="a\nfix: rm -rf\x1b[2J", expected="b", fix="c")
    result = end(raising(error))
    assert result.err.splitlines()[0] == "found:    a\\nfix: rm -rf\\x1b[2J"
    assert len(result.err.splitlines()) == 3


def test_stopped_work_prints_the_command_that_continues(end: End) -> None:
    """stopped, saved, resume; exit code 130."""
    stop = Interrupted(position="step 1 of 2", saved="everything, in runs/1", resume={"out": "my run", "epochs": 3})
    assert end(raising(stop)) == CommandResult(
        130,
        "",
        "stopped:  step 1 of 2\nsaved:    everything, in runs/1\nresume:   convscope work 'my run' --epochs 3\n",
    )


def test_ctrl_c_is_one_word(end: End) -> None:
    """No traceback; exit code 130."""
    assert end(raising(KeyboardInterrupt())) == CommandResult(130, "", "stopped\n")


def test_unexpected_error_is_called_a_bug(end: End, tmp_path: Path) -> None:
    """Exit code 1, one line, and a file with versions, command and traceback."""
    result = end(raising(ValueError("odd \x1b[2J value\nmore")))
    file = next(tmp_path.glob("convscope-traceback-*.txt"))
    message = "this is a bug in convscope: ValueError: odd \\x1b[2J value"
    assert result == CommandResult(1, "", f"{message}; the traceback is in {file}\n")
    text = file.read_text(encoding="utf-8")
    assert text.startswith("convscope ")
    assert str(sys.argv) in text
    assert "Traceback (most recent call last)" in text
    assert "ValueError: odd" in text


def test_traceback_can_be_printed(end: End, tmp_path: Path) -> None:
    """With `--traceback` it is printed above the line, without escape sequences, and no file is written."""
    result = end(raising(ValueError("odd \x1b[2J value")), "--traceback")
    assert result.code == 1
    assert result.err.startswith("Traceback (most recent call last)")
    assert result.err.endswith("this is a bug in convscope: ValueError: odd \\x1b[2J value\n")
    assert "\x1b" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_traceback_is_printed_if_it_cannot_be_saved(end: End, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place for temporary files it is not lost."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert "Traceback (most recent call last)" in end(raising(ValueError())).err


def test_missing_module_of_an_extra_names_the_extra(end: End) -> None:
    """Wherever a command imports it; any other missing module is a bug."""
    missing = end(raising(ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")))
    assert missing.code == 2
    assert missing.err.splitlines()[0] == (
        "found:    convscope work needs the Python module 'matplotlib', which is not installed"
    )
    assert missing.err.splitlines()[2] == "fix:      pip install 'convscope[explain]'"
    for error in (
        ModuleNotFoundError("No module named 'convscope.gone'", name="convscope.gone"),
        ModuleNotFoundError("No module named 'matplotlib.gone'", name="matplotlib.gone"),
        ImportError("cannot import name 'gone' from 'matplotlib'", name="matplotlib"),
    ):
        assert end(raising(error)).err.startswith(f"this is a bug in convscope: {type(error).__name__}: ")


@pytest.mark.parametrize("number", sorted(DISK_ERRORS | PATH_ERRORS))
def test_place_of_the_user_that_cannot_be_written_is_no_bug(end: End, number: int, tmp_path: Path) -> None:
    """The path and the system's reason, with what to check."""
    out_folder = tmp_path / "out"
    for path in (
        out_folder,
        out_folder / "model" / "model.onnx",
        out_folder.parent,
        out_folder.with_name(".out.parts") / "1.csv",
    ):
        result = end(raising(OSError(number, "the reason", str(path))), out=out_folder)
        assert result.code == 2
        assert result.err.splitlines()[0] == f"found:    {path}: the reason"


def test_other_errors_of_the_system_are_bugs(end: End, tmp_path: Path) -> None:
    """A path that the user did not choose, a file that is missing, a connection: the library has to handle these."""
    for error in (
        PermissionError(errno.EACCES, "Permission denied", "/elsewhere/file"),
        PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "other")),
        FileNotFoundError(errno.ENOENT, "No such file or directory", str(tmp_path / "out" / "model.json")),
        PermissionError(errno.EACCES, "Permission denied"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        OSError("a text alone"),
    ):
        assert end(raising(error)).code == 1


def test_missing_place_is_no_bug(end: End, tmp_path: Path) -> None:
    """As in a folder that the system lets nobody make."""
    result = end(raising(FileNotFoundError(errno.ENOENT, "No such file or directory", str(tmp_path))))
    assert (result.code, result.err.splitlines()[0]) == (2, f"found:    {tmp_path}: No such file or directory")


def test_full_disk_is_never_a_bug() -> None:
    """Whichever file it is, also if the system does not name it."""
    for path in (None, "/elsewhere/file"):
        described = describe_os_error(OSError(errno.ENOSPC, "No space left on device", path), [])
        assert described is not None
        assert described.found == f"{path or 'a file'}: No space left on device"


def test_default_places_count_as_chosen(end: End, cache: Path) -> None:
    """`runs` and the cache are in the help."""
    for path in (Path("runs", "3", "log.jsonl").absolute(), cache / "images-1"):
        assert end(raising(PermissionError(errno.EACCES, "Permission denied", str(path)))).code == 2


def test_folder_without_permission_is_described(unprivileged_user: UnprivilegedUser, cli: RunCommand) -> None:
    """`--out` where the user may not write: three lines with the path that was typed, no temporary name."""
    from PIL import Image
    from tiny_model import colour_model

    model = colour_model().write(unprivileged_user.folder / "m.onnx")
    Image.new("RGB", (8, 8)).save(unprivileged_user.folder / "a.png")
    (unprivileged_user.folder / "closed").mkdir(mode=0o555)
    with unprivileged_user.impersonate():
        result = cli(
            "predict", model, unprivileged_user.folder / "a.png", "--out", unprivileged_user.folder / "closed" / "t.csv"
        )
    assert result.code == 2
    assert result.err.splitlines()[-3].startswith(f"found:    {unprivileged_user.folder / 'closed'}")
    assert "Permission denied" in result.err.splitlines()[-3]


def test_messages_name_flags(end: End) -> None:
    """What the library logs while a command runs speaks of the command's flags."""
    body = lambda: logging.getLogger("convscope.x").info("`epochs=3` and `shrink` \x1b[2J\nnext")  # noqa: E731
    assert end(body) == CommandResult(0, "", "--epochs 3 and `shrink` \\x1b[2J\nnext\n")


def test_wrong_usage_cannot_disturb_the_terminal(cli: RunCommand) -> None:
    """A file name that a shell puts into a command may hold anything.

    Rests on the class of Typer's errors of usage, which it does not export: where that has moved, the name is printed
    unchanged.
    """
    result = cli("merge", "a", "--out", "b", "--\x1b[2J")
    assert result.code == 2
    assert "\x1b" not in result.err
    assert "\\x1b[2J" in result.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.slow
def test_full_disk_under_standard_output_is_no_bug() -> None:
    """Three lines and exit code 2; test_output.py has the long outputs."""
    with open("/dev/full", "w") as full:
        result = finish(start("cache", "list", stdout=full))
    assert result == CommandResult(
        2,
        None,  # type: ignore[arg-type]
        "found:    standard output: No space left on device\n"
        "expected: a place that convscope may read and write, with free space\n"
        "fix:      check the path, its permissions, and the free space of the disk\n",
    )
