"""The promise: stopped by anything at any moment, a training goes on to the same bits as one that was never stopped."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sample_images import write_folder

from convscope.errors import Interrupted
from convscope.networks import efficientnet
from convscope.recipe.defaults import EFFICIENTNET
from convscope.recipe.recipe import Recipe
from convscope.run import Run
from convscope.training import learner as learning
from convscope.training.learner import Learner
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
PRETRAINED = Recipe(  # a head that is solved on features, then every weight
    network=EFFICIENTNET,
    precision="float32",
    image_size=32,
    batch_size=4,
    epochs=6,
    seed=7,
)
WAIT_SECONDS = 120

CHILD = """
import json, os, signal, sys, traceback
from pathlib import Path
from convscope.errors import Interrupted
from convscope.recipe.recipe import Recipe
from convscope.training.training import train

data, out, recipe, operation, left = sys.argv[1:]
left = int(left)

def dying(function):
    # die at the n-th call that a checkpoint's writing makes
    def call(*words):
        global left
        if any(frame.name == "save_checkpoint" for frame in traceback.extract_stack()):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*words)
    return call

if operation == "fsync":
    os.fsync = dying(os.fsync)
elif operation == "rename":
    Path.rename = dying(Path.rename)
try:
    train(Path(data), Recipe.from_toml(recipe), out=Path(out), resume=True)
except Interrupted as stop:
    print(json.dumps([stop.found, stop.expected, stop.fix]))
    sys.exit(stop.exit_code)
"""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 drawings of three shapes."""
    return write_folder(tmp_path_factory.mktemp("shapes"), per_class=16, size=20)


@pytest.fixture(scope="module")
def uninterrupted(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What every other run has to end like."""
    run = train(shapes, RECIPE, out=tmp_path_factory.mktemp("runs") / "uninterrupted")
    losses = [float(row["val_loss"]) for row in history(run)]
    assert len(set(losses)) == EPOCHS  # no two epochs are alike: a lost or repeated step would show
    assert 0 < int(np.argmin(losses)) < EPOCHS - 1  # and the best weights are not the last ones
    return run


def start(
    shapes: Path, run: Run, *, recipe: Recipe = RECIPE, die_at: tuple[str, int] = ("", 0)
) -> subprocess.Popen[str]:
    """A training in a process of its own, which begins or goes on; it may be told to kill itself."""
    words = [sys.executable, "-c", CHILD, str(shapes), str(run.path), recipe.to_toml(), die_at[0], str(die_at[1])]
    return spawn(words)


def train_and_kill(shapes: Path, run: Run, *, after_epochs: int, recipe: Recipe = RECIPE, pause: float = 0.02) -> None:
    """Train in a process of its own, or go on, and kill it some seconds after it has written so many epochs."""
    child = start(shapes, run, recipe=recipe)
    wait_for_epochs(run, after_epochs)
    time.sleep(pause)
    child.kill()
    code, _, err = end(child)
    assert code == -signal.SIGKILL, err


def spawn(words: Sequence[str]) -> subprocess.Popen[str]:
    """A process whose output is kept."""
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Its exit code, standard output and standard error."""
    out, err = child.communicate(timeout=WAIT_SECONDS)
    return child.returncode, out, err


def events(run: Run) -> list[str]:
    """The names of the events in log.jsonl."""
    lines = run.log_file.read_text(encoding="utf-8").splitlines() if run.log_file.exists() else []
    return [json.loads(line)["event"] for line in lines]


def wait_for_epochs(run: Run, count: int) -> None:
    """Return as soon as the run has logged so many epochs more."""
    until = time.monotonic() + WAIT_SECONDS
    wanted = events(run).count("epoch") + count
    while events(run).count("epoch") < wanted:
        assert time.monotonic() < until, "the training does not get on"
        time.sleep(0.002)


def history(run: Run) -> list[dict[str, str]]:
    """The rows of history.csv."""
    with run.history_file.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def newest(run: Run) -> Path:
    """The last checkpoint."""
    return max(run.checkpoints.iterdir())


def assert_same_end(run: Run, other: Run) -> None:
    """The same weights to the byte, the same history but for the time, the same state to go on from."""
    name = Path("model") / "weights.safetensors"
    assert (run.path / name).read_bytes() == (other.path / name).read_bytes()
    rows, expected = ([{**row, "seconds": ""} for row in history(each)] for each in (run, other))
    assert rows == expected
    seconds = [float(row["seconds"]) for row in history(run)]
    assert seconds == sorted(seconds)
    assert [each.name for each in sorted(run.checkpoints.iterdir())] == [
        each.name for each in sorted(other.checkpoints.iterdir())
    ]
    arrays, wanted = (load_file(newest(each) / "arrays.safetensors") for each in (run, other))
    assert arrays.keys() == wanted.keys()
    state = {
        "adam": {"adam/mean/logits/kernel", "adam/step"},
        "lamb": {"lamb/mean/logits/kernel", "lamb/step"},
        "muon": {"muon/momentum/block1_down_convolution/kernel"},
    }
    assert {"weights/logits/kernel", "best/logits/kernel"} | state[run.recipe.optimizer] < arrays.keys()
    for key, array in arrays.items():
        assert (array.dtype, array.tobytes()) == (wanted[key].dtype, wanted[key].tobytes()), key
    assert run.data_file.read_bytes() == other.data_file.read_bytes()


def test_killed_at_random_moments(shapes: Path, uninterrupted: Run, tmp_path: Path) -> None:
    """Three times SIGKILL, each somewhere in the work of a random epoch, and then on to the end: the same bits."""
    run = Run(tmp_path / "run")
    moments = np.random.default_rng(11)
    for _ in range(3):
        train_and_kill(shapes, run, after_epochs=int(moments.integers(1, 9)), pause=moments.uniform(0, 0.1))
        assert not run.is_finished
    train(shapes, out=run.path, resume=True)
    assert events(run).count("resume") == 3
    assert_same_end(run, uninterrupted)


def test_killed_inside_a_checkpoint_write(shapes: Path, uninterrupted: Run, tmp_path: Path) -> None:
    """SIGKILL between the files of a checkpoint, and before the rename that makes it one: the same bits."""
    run = Run(tmp_path / "run")
    for operation, count in (("fsync", 7 * 5 + 4), ("rename", 8)):  # a checkpoint has seven fsyncs and one rename
        code, _, err = end(start(shapes, run, die_at=(operation, count)))
        assert code == -signal.SIGKILL, err
        assert [each for each in run.checkpoints.iterdir() if each.suffix == ".part"]
    train(shapes, out=run.path, resume=True)
    assert_same_end(run, uninterrupted)


def test_stopped_by_signals(shapes: Path, uninterrupted: Run, tmp_path: Path) -> None:
    """SIGTERM, then SIGINT: each saves everything, ends with 130, and says a command that goes on to the same bits."""
    run = Run(tmp_path / "my run")
    child = start(shapes, run)
    wait_for_epochs(run, 3)
    time.sleep(0.05)  # into the next epoch
    child.send_signal(signal.SIGTERM)
    code, out, err = end(child)
    assert code == 130, err
    found, expected, command = json.loads(out)
    per_epoch = int(history(run)[0]["step"])
    assert str(run.path) in expected
    assert found == f"at step {int(newest(run).name[5:]):,} of {EPOCHS * per_epoch:,}"  # the very step is saved

    child = spawn([sys.executable, "-m", *shlex.split(command)])
    wait_for_epochs(run, 3)
    time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    code, out, err = end(child)
    assert (code, out) == (130, "")
    assert command in err
    assert "Traceback" not in err
    assert events(run)[-1] == "interrupted"

    assert shlex.split(command)[1:] == ["train", str(shapes), "--out", str(run.path), "--resume"]
    train(shapes, out=run.path, resume=True)
    assert events(run).count("interrupted") == 2
    assert_same_end(run, uninterrupted)


def test_damaged_checkpoint_is_told_and_the_one_before_is_used(
    shapes: Path, uninterrupted: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a byte of the newest checkpoint changed, the one before is used, the person hears of it: the same bits."""
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
    capsys.readouterr()
    train(shapes, out=run.path, resume=True)
    assert f"checkpoint {damaged} is damaged" in capsys.readouterr().err
    assert "damaged" in events(run)
    assert_same_end(run, uninterrupted)


@pytest.mark.parametrize("around", [-1, 0, 1])
def test_compact_goes_on_around_a_change_of_size(shapes: Path, around: int) -> None:
    """Put back into a new learner just before, at and after each change of the image size: the same bits at the end."""
    whole = Learner(shapes, COMPACT)
    steps = COMPACT.num_steps(whole.steps_per_epoch)
    sizes = [whole.schedule.size(step) for step in range(steps)]
    whole.fit(steps=steps)
    expected = whole.snapshot()
    before = Learner(shapes, COMPACT)
    for change in (sizes.index(24), sizes.index(32)):
        before.fit(steps=change + around - before.step)
        after = Learner(shapes, COMPACT)
        after.go_back_to(before.snapshot())
        after.fit(steps=steps - after.step)
        arrays = after.snapshot().arrays
        assert arrays.keys() == expected.arrays.keys()
        assert {name for name, array in arrays.items() if array.tobytes() != expected.arrays[name].tobytes()} == set()


def test_compact_killed_at_a_random_moment(shapes: Path, tmp_path: Path) -> None:
    """SIGKILL among the small images, SIGKILL later on, and then to the end: the bits of an unbroken run."""
    uninterrupted = train(shapes, COMPACT, out=tmp_path / "uninterrupted")
    run = Run(tmp_path / "run")
    for epochs in (2, 4):
        train_and_kill(shapes, run, recipe=COMPACT, after_epochs=epochs)
    train(shapes, out=run.path, resume=True)
    assert events(run).count("resume") == 2
    assert_same_end(run, uninterrupted)


def test_pretrained_killed_at_a_random_moment(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL as soon as the head is solved, SIGKILL while all is fine-tuned, and then to the end: the same bits.

    The end is reached without the package that the weights came from, and without a feature.
    """
    uninterrupted = train(shapes, PRETRAINED, out=tmp_path / "uninterrupted")
    run = Run(tmp_path / "run")
    for epochs in (1, 2):
        train_and_kill(shapes, run, recipe=PRETRAINED, after_epochs=epochs)
        assert not run.is_finished
    assert history(run)[0]["epoch"] == "0"
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")
    monkeypatch.setattr(learning, "start_from_features", None)
    train(shapes, out=run.path, resume=True)
    assert "resume" in events(run)
    assert_same_end(run, uninterrupted)
