"""The promise: stopped at any moment in any way, a run ends with the same bits as an uninterrupted one."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from learners import bits, make_learner
from processes import finish, start, start_python
from safetensors.numpy import load_file
from sample_images import write_folder

from convscope.datasets.dataset import open_dataset
from convscope.errors import Interrupted
from convscope.networks import efficientnet
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
from convscope.run import Run
from convscope.training import learner as learner_module
from convscope.training.training import train

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

EPOCHS = 30
RECIPE = Recipe(
    network="classic",
    precision="float32",
    image_size=16,
    filters=(4, 4),
    dense_units=8,
    batch_size=1,  # many steps to an epoch: most moments are inside one
    learning_rate=0.002,
    epochs=EPOCHS,
    patience=EPOCHS,
    seed=7,
)
COMPACT = Recipe(  # every image size, every augmentation, and moving statistics: ten steps to an epoch
    network="compact",
    precision="float32",
    image_size=32,
    filters=(4, 8, 8),
    batch_size=4,
    zoom=0.5,
    erase=0.3,
    epochs=12,
    patience=12,
    seed=7,
)
PRETRAINED = Recipe(  # a head that is fitted on frozen features, then every weight
    network=EFFICIENTNET,
    precision="float32",
    image_size=32,
    batch_size=4,
    epochs=4,
    seed=7,
)
WAIT_SECONDS = 120

CHILD = """
import json, os, signal, sys, traceback
from pathlib import Path
from convscope import configure_tensorflow
configure_tensorflow()  # as tests/conftest.py does in its process: rounding depends on it
from convscope.errors import Interrupted
from convscope.recipe.recipe import Recipe
from convscope.training.training import train

data, out, recipe, operation, left = sys.argv[1:]
left = int(left)

def dying(function):
    # die at the n-th call while a checkpoint is written
    def call(*arguments):
        global left
        if any(frame.name == "save_checkpoint" for frame in traceback.extract_stack()):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call

if operation == "fsync":
    os.fsync = dying(os.fsync)
elif operation == "rename":
    Path.rename = dying(Path.rename)
try:
    train(Path(data), Recipe.from_toml(recipe), out=Path(out), resume=True)
except Interrupted as stop:
    print(json.dumps([stop.position, stop.saved, {name: str(value) for name, value in stop.resume.items()}]))
    sys.exit(130)
"""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 drawings of three shapes."""
    return write_folder(tmp_path_factory.mktemp("shapes"), per_class=16, size=20)


@pytest.fixture(scope="module")
def uninterrupted(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that every other one is compared with."""
    run = train(shapes, RECIPE, out=tmp_path_factory.mktemp("runs") / "uninterrupted")
    losses = [float(row["val_loss"]) for row in history(run)]
    assert len(set(losses)) == EPOCHS  # no two epochs are equal: a lost or repeated step would show
    assert 0 < int(np.argmin(losses)) < EPOCHS - 1  # and the best weights are not the last ones
    return run


def start_training(
    shapes: Path, run: Run, *, recipe: Recipe = RECIPE, die_at: tuple[str, int] = ("", 0)
) -> subprocess.Popen[str]:
    """A training in a child process, which starts or resumes; with `die_at` it kills itself."""
    return start_python(CHILD, shapes, run.path, recipe.to_toml(), *die_at)


def train_and_kill(shapes: Path, run: Run, *, after_epochs: int, recipe: Recipe = RECIPE, pause: float = 0.02) -> None:
    """Start or resume in a child process, and kill it some seconds after it has written so many epochs."""
    child = start_training(shapes, run, recipe=recipe)
    wait_for_epochs(run, after_epochs)
    time.sleep(pause)
    child.kill()
    killed = finish(child)
    assert killed.code == -signal.SIGKILL, killed.err


def events(run: Run) -> list[str]:
    """The names of the events in log.jsonl."""
    lines = run.log_file.read_text(encoding="utf-8").splitlines() if run.log_file.exists() else []
    return [json.loads(line)["event"] for line in lines]


def wait_for_epochs(run: Run, count: int) -> None:
    """Return as soon as the run has logged so many epochs more."""
    until = time.monotonic() + WAIT_SECONDS
    target = events(run).count("epoch") + count
    while events(run).count("epoch") < target:
        assert time.monotonic() < until, "the training makes no progress"
        time.sleep(0.002)


def history(run: Run) -> list[dict[str, str]]:
    """The rows of history.csv."""
    with run.history_file.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def newest(run: Run) -> Path:
    """The last checkpoint."""
    return max(run.checkpoints.iterdir())


def assert_same_end(run: Run, other: Run) -> None:
    """The same weights to the byte, the same history but for the time, the same state in the last checkpoint."""
    name = Path("model") / "weights.safetensors"
    assert (run.path / name).read_bytes() == (other.path / name).read_bytes()
    rows, expected = ([{**row, "seconds": ""} for row in history(compared)] for compared in (run, other))
    assert rows == expected
    seconds = [float(row["seconds"]) for row in history(run)]
    assert seconds == sorted(seconds)
    assert [path.name for path in sorted(run.checkpoints.iterdir())] == [
        path.name for path in sorted(other.checkpoints.iterdir())
    ]
    arrays, expected_arrays = (load_file(newest(compared) / "arrays.safetensors") for compared in (run, other))
    assert arrays.keys() == expected_arrays.keys()
    state = {
        "adam": {"adam/mean/logits/kernel", "adam/step"},
        "lamb": {"lamb/mean/logits/kernel", "lamb/step"},
        "muon": {"muon/momentum/block1_down_convolution/kernel"},
    }
    assert {"weights/logits/kernel", "best/logits/kernel"} | state[run.recipe.optimizer] < arrays.keys()
    for key, array in arrays.items():
        assert (array.dtype, array.tobytes()) == (expected_arrays[key].dtype, expected_arrays[key].tobytes()), key
    assert run.data_file.read_bytes() == other.data_file.read_bytes()


def test_killed_at_random_moments(shapes: Path, uninterrupted: Run, tmp_path: Path) -> None:
    """Three times SIGKILL, each somewhere in a random epoch, and then to the end: the same bits."""
    run = Run(tmp_path / "run")
    moments = np.random.default_rng(11)
    for _ in range(3):
        train_and_kill(shapes, run, after_epochs=int(moments.integers(1, 6)), pause=moments.uniform(0, 0.1))
        assert not run.is_finished
    train(shapes, out=run.path, resume=True)
    assert events(run).count("resume") == 3
    assert_same_end(run, uninterrupted)


def test_killed_inside_a_checkpoint_write(shapes: Path, uninterrupted: Run, tmp_path: Path) -> None:
    """SIGKILL between the files of a checkpoint, and before the rename that makes it one: the same bits."""
    run = Run(tmp_path / "run")
    for operation, count in (("fsync", 7 * 5 + 4), ("rename", 8)):  # a checkpoint has seven fsyncs and one rename
        killed = finish(start_training(shapes, run, die_at=(operation, count)))
        assert killed.code == -signal.SIGKILL, killed.err
        assert [path for path in run.checkpoints.iterdir() if path.suffix == ".part"]
    train(shapes, out=run.path, resume=True)
    assert_same_end(run, uninterrupted)


def test_stopped_by_signals(shapes: Path, uninterrupted: Run, tmp_path: Path) -> None:
    """SIGTERM, then SIGINT to the command line: each saves everything and names how to continue, to the same bits."""
    run = Run(tmp_path / "my run")
    child = start_training(shapes, run)
    wait_for_epochs(run, 3)
    time.sleep(0.05)  # into the next epoch
    child.send_signal(signal.SIGTERM)
    stopped = finish(child)
    assert stopped.code == 130, stopped.err
    position, saved, arguments = json.loads(stopped.out)
    per_epoch = int(history(run)[0]["step"])
    assert str(run.path) in saved
    assert position == f"step {int(newest(run).name[5:]):,} of {EPOCHS * per_epoch:,}"  # this very step is saved
    assert arguments == {"data": str(shapes), "out": str(run.path), "resume": "True"}

    command = ["train", str(shapes), "--out", str(run.path), "--resume"]
    child = start(*command)
    wait_for_epochs(run, 3)
    time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    stopped = finish(child)
    assert (stopped.code, stopped.out) == (130, "")
    (line,) = (line for line in stopped.err.splitlines() if line.startswith("resume:"))
    assert shlex.split(line.removeprefix("resume:"))[1:] == command
    assert "Traceback" not in stopped.err
    assert events(run)[-1] == "interrupted"

    train(shapes, out=run.path, resume=True)
    assert events(run).count("interrupted") == 2
    assert_same_end(run, uninterrupted)


def test_a_damaged_checkpoint_is_logged_and_the_one_before_is_used(
    shapes: Path, uninterrupted: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a byte of the newest checkpoint changed, the one before is used, and a message names it: the same bits."""
    caplog.set_level("INFO", logger="convscope")
    run = Run(tmp_path / "run")

    def press_ctrl_c() -> None:
        wait_for_epochs(run, 5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press_ctrl_c)
    thread.start()
    with pytest.raises(Interrupted):
        train(shapes, RECIPE, out=run.path)
    thread.join()
    damaged = newest(run)
    file = damaged / "arrays.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    train(shapes, out=run.path, resume=True)
    assert any(f"checkpoint {damaged} is damaged" in message for message in caplog.messages)
    assert "damaged" in events(run)
    assert_same_end(run, uninterrupted)


def test_compact_continues_around_a_change_of_size(shapes: Path) -> None:
    """Restored just before, at and after each change of the image size: the same bits at the end."""
    recipe = resolve(COMPACT)
    dataset = open_dataset(shapes, recipe)
    uninterrupted = make_learner(dataset, recipe)
    num_steps = uninterrupted.plan.num_steps
    sizes = [uninterrupted.plan.image_size(step) for step in range(num_steps)]
    stops = [sizes.index(size) + offset for size in (24, 32) for offset in (-1, 0, 1)]
    snapshots = []
    for stop in (*stops, num_steps):
        uninterrupted.fit(steps=stop - uninterrupted.step)
        snapshots.append(uninterrupted.snapshot())
    resumed = make_learner(dataset, recipe, checkpoint=snapshots[0])  # another one, so that only the snapshot is kept
    for snapshot in snapshots[:-1]:
        resumed.restore(snapshot)
        resumed.fit(steps=num_steps - resumed.step)
        assert bits(resumed.snapshot()) == bits(snapshots[-1])


def test_compact_killed_at_a_random_moment(shapes: Path, tmp_path: Path) -> None:
    """SIGKILL among the small images, SIGKILL later on, and then to the end: the bits of an uninterrupted run."""
    uninterrupted = train(shapes, COMPACT, out=tmp_path / "uninterrupted")
    run = Run(tmp_path / "run")
    for epochs in (2, 4):
        train_and_kill(shapes, run, recipe=COMPACT, after_epochs=epochs)
    train(shapes, out=run.path, resume=True)
    assert events(run).count("resume") == 2
    assert_same_end(run, uninterrupted)


def test_pretrained_killed_at_a_random_moment(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL as soon as the head is fitted, SIGKILL during fine-tuning, and then to the end: the same bits.

    The end is reached without the package of the pretrained weights, and without features.
    """
    uninterrupted = train(shapes, PRETRAINED, out=tmp_path / "uninterrupted")
    run = Run(tmp_path / "run")
    for epochs in (1, 2):
        train_and_kill(shapes, run, recipe=PRETRAINED, after_epochs=epochs)
        assert not run.is_finished
    assert history(run)[0]["epoch"] == "0"
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    monkeypatch.setattr(learner_module, "fit_linear_probe", None)
    train(shapes, out=run.path, resume=True)
    assert "resume" in events(run)
    assert_same_end(run, uninterrupted)


def test_a_run_of_the_version_before_is_resumed(tmp_path: Path) -> None:
    """A run that was stopped before recipes were saved complete goes the way of a new one of 20 epochs.

    Not to the bit: its first steps were taken on another processor.
    """
    old = Path(__file__).parents[1] / "old"
    run = Run(Path(shutil.copytree(old / "unfinished", tmp_path / "run")))
    assert "epochs" not in run.recipe_file.read_text(encoding="utf-8")
    train(old / "photos", Recipe(patience=0), out=run.path, resume=True)
    choices = Recipe.from_file(run.recipe_file)
    assert choices.epochs == 20
    new_run = train(old / "photos", choices, out=tmp_path / "anew")
    rows, expected = history(run), history(new_run)
    assert len(rows) == len(expected) == 20
    for name in ("loss", "val_loss"):
        assert [float(row[name]) for row in rows] == pytest.approx([float(row[name]) for row in expected], abs=1e-3)
