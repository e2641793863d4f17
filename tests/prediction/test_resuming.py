"""prediction/prediction.py: a run that was stopped or killed is resumed to the bytes of an uninterrupted run."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import Command, environment

from convscope.errors import Interrupted, RunError
from convscope.prediction import unfinished_table
from convscope.prediction.inference import BATCH_IMAGES
from convscope.prediction.prediction import predict
from convscope.prediction.provenance import Shard
from convscope.prediction.rows import Format, Table
from convscope.prediction.shards import read_shard
from convscope.prediction.unfinished_table import UnfinishedTable, parts_folder

NUM_BATCHES = 60  # of `copies`
WITH_SMALL_PARTS = """
import runpy, sys
from convscope.prediction import unfinished_table
unfinished_table.PART_SECONDS = 0.0
sys.argv[0] = "convscope"
runpy.run_module("convscope", run_name="__main__")
"""
WITH_SMALL_FILES = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))
sys.argv[0] = "convscope"
runpy.run_module("convscope", run_name="__main__")
"""


@pytest.fixture
def copies(photos: Path, tmp_path: Path) -> Path:
    """A folder of 60 batches of images, all different in name, some of them unreadable."""
    folder = tmp_path / "copies"
    folder.mkdir()
    sources = sorted(photos.rglob("*.png"))
    for number in range(NUM_BATCHES * BATCH_IMAGES):
        (folder / f"{number:05}.png").symlink_to(sources[number % 60] if number % 50 else "nowhere")
    return folder


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch becomes a part."""
    monkeypatch.setattr(unfinished_table, "PART_SECONDS", 0.0)


def call_at_second_part(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Call `action` before the second part of a table is written."""
    write_part = UnfinishedTable.write_part

    def call_and_write(table: UnfinishedTable, content: bytes, *, first: int, count: int, unreadable: int) -> None:
        if first > table.provenance.input_range.start:
            action()
        write_part(table, content, first=first, count=count, unreadable=unreadable)

    monkeypatch.setattr(UnfinishedTable, "write_part", call_and_write)


def crash() -> None:
    """Raise an error that nothing explains, as a bug does."""
    raise RuntimeError("crash")


def start_predicting(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """`convscope predict ARGUMENTS...`, which writes a part for each batch, in its own process group."""
    command = [sys.executable, "-c", WITH_SMALL_PARTS, "predict", *map(str, arguments)]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, start_new_session=True, text=True, env=environment(), **options
    )


def wait_for_parts(child: subprocess.Popen[str], out: Path, count: int) -> None:
    """Wait until `count` parts are written, or the process has ended."""
    while child.poll() is None and len(list(parts_folder(out).glob("0*"))) < count:
        time.sleep(0.01)


def test_finished_table_stays_unchanged(cli: Command, model_file: Path, photos: Path, tmp_path: Path) -> None:
    """A script that always uses `--resume` ends well a second time, and the table is that of the first."""
    out = tmp_path / "out.csv"
    assert cli("predict", model_file, photos, "--out", out, "--resume").code == 0
    before = out.stat()
    result = cli("predict", model_file, photos / "disc", "--out", out, "--resume")
    assert (result.code, result.out) == (0, "")
    assert len(result.err.splitlines()) == 1
    assert str(out) in result.err
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert os.listdir(tmp_path) == ["out.csv"]


def test_finished_shard_is_compared_with_the_request(model_file: Path, photos: Path, tmp_path: Path) -> None:
    """Its sidecar knows its provenance: the counts are those of the first run, and each difference is named."""
    out, images = tmp_path / "out.csv", [str(photos), "missing.png"]
    first = predict(model_file, images, out=out, shard=Shard(2, 2))
    for named in (images, []):
        second = predict(model_file, named, out=out, shard=Shard(2, 2), resume=True)
        assert (second.count, second.unreadable, second.already_complete) == (first.count, 1, True)
    for change in ({"shard": Shard(1, 2)}, {"images": images[:1]}, {"table": Table(top=1)}):
        arguments: dict[str, Any] = {"images": images, "shard": Shard(2, 2)} | change
        with pytest.raises(RunError, match="other choices than those of"):
            predict(model_file, out=out, resume=True, **arguments)
    out.write_bytes(out.read_bytes()[:-1])
    with pytest.raises(RunError, match="has changed since it was written"):
        predict(model_file, images, out=out, shard=Shard(2, 2), resume=True)


def test_kill_just_after_the_table_loses_nothing(
    model_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table and its parts are both there: resuming ends the same, unless another file replaced the table."""
    out = tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        patch.setattr(UnfinishedTable, "mark_finished", lambda _: None)  # as if killed before it
        predict(model_file, [str(photos)], out=out, shard=Shard(1, 2))
    before = out.read_bytes()
    out.write_bytes(b"another")
    with pytest.raises(RunError, match="exists already"):
        predict(model_file, out=out, shard=Shard(1, 2), resume=True)
    assert out.read_bytes() == b"another"
    out.write_bytes(before)
    assert predict(model_file, out=out, shard=Shard(1, 2), resume=True).count == 30
    assert out.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["out.csv", "out.csv.json"]


def test_file_that_appeared_since_is_reported_at_once(
    model_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is not complete cannot be at `out`: another file is, and the rest is not predicted."""
    out = tmp_path / "out.csv"
    with monkeypatch.context() as patch:
        patch.setattr(UnfinishedTable, "write_part", lambda *_, **__: crash())
        with pytest.raises(RuntimeError, match="crash"):
            predict(model_file, [str(photos)], out=out)
    out.write_text("another")
    with pytest.raises(RunError, match="exists already"):
        predict(model_file, out=out, resume=True)
    out.unlink()
    assert predict(model_file, out=out, resume=True).count == 60


@pytest.mark.slow
@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_has_the_arguments_to_resume(
    model_file: Path, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """`predict(**error.resume)` continues to the bytes of an uninterrupted run, from the saved list of images."""
    out, uninterrupted, table = tmp_path / "out", tmp_path / "uninterrupted", Table(format="jsonl", top=2, mirror=True)
    predict(model_file, [str(copies)], out=uninterrupted, table=table, shard=Shard(2, 9))
    with monkeypatch.context() as patch:
        call_at_second_part(patch, lambda: signal.raise_signal(number))
        with pytest.raises(Interrupted) as caught:
            predict(model_file, [str(copies)], out=out, table=table, shard=Shard(2, 9))
    assert re.fullmatch(r"after \d+ of 213 images", caught.value.position)
    assert caught.value.saved == f"their rows, in {parts_folder(out)}"
    assert not out.exists()
    assert predict(**caught.value.resume).count == 213
    assert out.read_bytes() == uninterrupted.read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("small_parts")
def test_neighbours_resume_to_the_same_bytes(
    model_with_neighbours: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only with the same number of neighbours; how many rows are there already is logged."""
    images, table = [str(photos), str(photos / "disc")], Table(neighbours=3)
    predict(model_with_neighbours, images, out=tmp_path / "uninterrupted.csv", table=table)
    with monkeypatch.context() as patch:
        call_at_second_part(patch, crash)
        with pytest.raises(RuntimeError, match="crash"):
            predict(model_with_neighbours, images, out=tmp_path / "out.csv", table=table)
    with pytest.raises(RunError, match=r"`neighbours` \(3, not 0\)"):
        predict(model_with_neighbours, out=tmp_path / "out.csv", resume=True)
    caplog.set_level("INFO", logger="convscope")
    predict(model_with_neighbours, out=tmp_path / "out.csv", table=table, resume=True)
    assert caplog.messages == ["resumed after 32 of 80 images"]
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "uninterrupted.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits files as POSIX does")
def test_full_disk_loses_nothing(model_file: Path, photos: Path, tmp_path: Path) -> None:
    """No table is written and the error has 3 lines; with space again the run is resumed."""
    out = tmp_path / "out.csv"
    images = "\n".join([str(photos / "disc" / "000.png")] * 1000)  # 60 kB of names, over 80 kB of rows
    command = [sys.executable, "-c", WITH_SMALL_FILES, "predict", model_file, "-", "--out", out]
    result = subprocess.run(command, input=images, capture_output=True, text=True, env=environment())
    assert result.returncode == 2
    found, expected, fix = result.stderr.splitlines()[-3:]
    assert re.fullmatch(rf"found:    {re.escape(str(parts_folder(out)))}/\S+ cannot be written: File too large", found)
    assert expected == "expected: a path with permission and space to write"
    assert "resume" in fix
    assert not out.exists()
    assert predict(model_file, out=out, resume=True).count == 1000
    assert os.listdir(tmp_path) == ["out.csv"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_killed_and_resumed_is_as_uninterrupted(model_file: Path, copies: Path, tmp_path: Path, format: Format) -> None:
    """After two `kill -9` the table is that of an uninterrupted run, and no row was predicted twice."""
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
    out, uninterrupted = tmp_path / "out", tmp_path / "uninterrupted"
    predict(model_file, [str(copies)], out=uninterrupted, table=Table(format=format))
    arguments = [model_file, copies, "--out", out, "--format", format, "--max-unreadable", "5%"]
    for resume, count in (([], 5), (["--resume"], 30)):
        child = start_predicting(*arguments, *resume)
        wait_for_parts(child, out, count)
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate(timeout=60)
        assert child.returncode == -signal.SIGKILL
        assert not out.exists()
    for image in sorted(copies.iterdir())[: 30 * BATCH_IMAGES]:
        image.unlink()  # predicted again, it would be unreadable
    child = start_predicting(*[argument for argument in arguments if argument != copies], "--resume")
    _, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert re.match(r"resumed after [\d,]+ of 1,920 images\n", err)
    assert out.read_bytes() == uninterrupted.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["copies", "out", "uninterrupted"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals as POSIX does")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_command_prints_the_command_line(
    model_file: Path, copies: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM: exit code 130, the rows stay, and the command that is printed finishes the table."""
    out, uninterrupted = tmp_path / "out.csv", tmp_path / "uninterrupted.csv"
    listed = "".join(f"{image}\n" for image in sorted(copies.iterdir()))
    (tmp_path / "list.txt").write_text(listed)
    with (tmp_path / "list.txt").open() as lines:
        child = start_predicting(model_file, "-", "--out", out, "--top", "2", "--shard", "1/1", stdin=lines)
        wait_for_parts(child, out, 3)
        os.killpg(child.pid, number)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    stopped, saved, resume = err.splitlines()[-3:]
    assert re.fullmatch(r"stopped:  after [\d,]+ of 1,920 images", stopped)
    assert saved == f"saved:    their rows, in {parts_folder(out)}"
    assert not out.exists()
    arguments = shlex.split(resume.removeprefix("resume:"))
    child = start_predicting(*arguments[arguments.index("predict") + 1 :])
    assert f"1,920 rows in {out}" in child.communicate(timeout=120)[1]
    predict(model_file, listed.splitlines(), out=uninterrupted, table=Table(top=2))
    assert out.read_bytes() == uninterrupted.read_bytes()
    read_shard(out).check_intact()


@pytest.mark.slow
@pytest.mark.parametrize(("allowed", "code"), [("1%", 3), ("5%", 0)])
def test_unreadable_share_counts_every_part(
    model_file: Path, copies: Path, tmp_path: Path, allowed: str, code: int
) -> None:
    """A killed run ends with the exit code of an uninterrupted one: 39 of 1,920 are unreadable, 2.03 %."""
    arguments = [model_file, copies, "--out", tmp_path / "out.csv", "--max-unreadable", allowed]
    child = start_predicting(*arguments)
    wait_for_parts(child, tmp_path / "out.csv", 55)
    child.kill()
    child.communicate(timeout=60)
    child = start_predicting(*arguments, "--resume")
    _, err = child.communicate(timeout=120)
    assert child.returncode == code, err
    assert "39 of 1,920 images unreadable" in err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends signals as POSIX does")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_without_a_file_is_plain(model_file: Path, photos: Path, number: signal.Signals) -> None:
    """On standard output nothing is saved: Ctrl-C and SIGTERM print `stopped` and end with 130."""
    child = start_predicting(model_file, *[photos / "disc" / "000.png"] * 3000, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    os.killpg(child.pid, number)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, "stopped\n")
