"""training/checkpoint.py: what was saved comes back to the bit, and a damaged checkpoint is never used."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from processes import run_python

from convscope.errors import RunError
from convscope.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

FILES = ("arrays.safetensors", "facts.json", "manifest.json")


def make_checkpoint(step: int) -> Checkpoint:
    """A state with every kind of array and fact that a training has."""
    draw = np.random.default_rng(step)
    arrays = {
        "weights/logits/kernel": draw.normal(size=(3, 4)).astype("f4"),
        "weights/logits/bias": np.array([np.nan, np.inf, -0.0, 1e-45], "f4"),
        "adam/step": np.asarray(np.int64(2**62 + step)),
        "tally/loss": np.asarray(np.float64(0.1) + step),
        "best/empty": np.zeros((0, 5), "f4"),
    }
    facts = {"seconds": 0.1 + 0.2, "history": [{"epoch": 1, "loss": 1 / 3}], "best": None, "name": "猫"}
    return Checkpoint(step, arrays, facts)


def fail(text: str) -> None:
    """No damage is expected."""
    raise AssertionError(text)


def same_bits(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two checkpoints are equal in every bit, type and shape."""

    def bits(checkpoint: Checkpoint) -> object:
        arrays = {name: (array.dtype, array.shape, array.tobytes()) for name, array in checkpoint.arrays.items()}
        return checkpoint.step, arrays, checkpoint.facts

    return bits(one) == bits(other)


def flip(data: bytes, index: int) -> bytes:
    """The same bytes with one bit of one of them changed."""
    return data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]


def test_state_comes_back_to_the_bit(tmp_path: Path) -> None:
    """Arrays of any shape, 0-d and empty ones, NaN and -0.0 too, and floats in the facts, are what they were."""
    save_checkpoint(tmp_path, make_checkpoint(7))
    loaded = load_checkpoint(tmp_path, on_damage=fail)
    assert loaded is not None
    assert same_bits(loaded, make_checkpoint(7))


def test_arrays_of_any_layout_come_back(tmp_path: Path) -> None:
    """A transposed or strided array is saved by its values, not by its memory."""
    table = np.arange(12, dtype="f4").reshape(3, 4)
    save_checkpoint(tmp_path, Checkpoint(1, {"transposed": table.T, "strided": table[:, ::2]}, {}))
    loaded = load_checkpoint(tmp_path, on_damage=fail)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.arrays["transposed"], table.T)
    np.testing.assert_array_equal(loaded.arrays["strided"], table[:, ::2])


def test_infinite_losses_come_back(tmp_path: Path) -> None:
    """A training that diverged can be saved and inspected, too."""
    save_checkpoint(tmp_path, Checkpoint(1, {}, {"loss": math.inf, "val_loss": math.nan}))
    loaded = load_checkpoint(tmp_path, on_damage=fail)
    assert loaded is not None
    assert loaded.facts["loss"] == math.inf
    assert math.isnan(loaded.facts["val_loss"])


def test_nothing_saved_is_no_checkpoint(tmp_path: Path) -> None:
    """A folder that is missing or empty has none, and that is no error."""
    assert load_checkpoint(tmp_path / "missing", on_damage=fail) is None
    assert load_checkpoint(tmp_path, on_damage=fail) is None


def test_last_two_are_kept(tmp_path: Path) -> None:
    """The newest is used, the one before is kept, the others are gone, and nothing else lies in the folder."""
    for step in (1, 2, 10, 1_000):
        save_checkpoint(tmp_path, make_checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000010", "step-0000001000"]
    loaded = load_checkpoint(tmp_path, on_damage=fail)
    assert loaded is not None
    assert loaded.step == 1_000


def test_steps_are_ordered_by_number(tmp_path: Path) -> None:
    """Step 10 comes after step 9."""
    for step in (9, 10):
        save_checkpoint(tmp_path, make_checkpoint(step))
    loaded = load_checkpoint(tmp_path, on_damage=fail)
    assert loaded is not None
    assert loaded.step == 10


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "removed": lambda _: None,
    "emptied": lambda _: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "cut by a byte": lambda data: data[:-1],
    "first byte flipped": lambda data: flip(data, 0),
    "middle byte flipped": lambda data: flip(data, len(data) // 2),
    "last byte flipped": lambda data: flip(data, -1 % len(data)),
    "made longer": lambda data: data + b"\0",
    "zeroed, as after a power cut": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damage_is_named_and_the_one_before_is_used(tmp_path: Path, name: str, damage: str) -> None:
    """Whichever file is damaged in whichever way, the message names the checkpoint, and the one before is used."""
    save_checkpoint(tmp_path, make_checkpoint(1))
    newest = save_checkpoint(tmp_path, make_checkpoint(2))
    data = DAMAGES[damage]((newest / name).read_bytes())
    (newest / name).unlink() if data is None else (newest / name).write_bytes(data)
    messages: list[str] = []
    loaded = load_checkpoint(tmp_path, on_damage=messages.append)
    assert loaded is not None
    assert same_bits(loaded, make_checkpoint(1))
    assert len(messages) == 1
    assert f"checkpoint {newest} is damaged" in messages[0]


@pytest.mark.slow
def test_any_flipped_byte_is_harmless(tmp_path: Path) -> None:
    """Of every byte of every file: flipped, the state that is loaded is one that was saved, never a third one."""
    save_checkpoint(tmp_path, make_checkpoint(1))
    newest = save_checkpoint(tmp_path, make_checkpoint(12))
    saved = {step: make_checkpoint(step) for step in (1, 12)}
    detected = 0
    for name in FILES:
        intact = (newest / name).read_bytes()
        for index in range(len(intact)):
            (newest / name).write_bytes(flip(intact, index))
            loaded = load_checkpoint(tmp_path, on_damage=lambda _: None)
            assert loaded is not None
            assert same_bits(loaded, saved[loaded.step]), (name, index)
            detected += loaded.step == 1
        (newest / name).write_bytes(intact)
    assert detected > 500  # a few bytes between the words of the manifest mean nothing


def test_files_of_another_checkpoint_are_no_substitute(tmp_path: Path) -> None:
    """An intact checkpoint under another's name is damage: its step is not the one of the name."""
    older = save_checkpoint(tmp_path, make_checkpoint(1))
    newest = save_checkpoint(tmp_path, make_checkpoint(2))
    for name in FILES:
        (newest / name).write_bytes((older / name).read_bytes())
    messages: list[str] = []
    loaded = load_checkpoint(tmp_path, on_damage=messages.append)
    assert loaded is not None
    assert (loaded.step, len(messages)) == (1, 1)


def test_checkpoint_of_another_format_is_not_read(tmp_path: Path) -> None:
    """The checkpoint of a later convscope is refused, and the message has its format."""
    path = save_checkpoint(tmp_path, make_checkpoint(1))
    manifest = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 2}))
    messages: list[str] = []
    with pytest.raises(RunError):
        load_checkpoint(tmp_path, on_damage=messages.append)
    assert "format 2, not 1" in messages[0]


def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    """Where every checkpoint is damaged, training does not silently begin anew."""
    for step in (1, 2):
        (save_checkpoint(tmp_path, make_checkpoint(step)) / "facts.json").unlink()
    messages: list[str] = []
    with pytest.raises(RunError, match="no intact checkpoint among 2"):
        load_checkpoint(tmp_path, on_damage=messages.append)
    assert len(messages) == 2


def test_a_damaged_one_is_replaced_and_two_intact_ones_stay(tmp_path: Path) -> None:
    """After a damaged newest one the next save leaves two intact ones, whether it is of the same step or an earlier."""
    for step in (10, 20):
        save_checkpoint(tmp_path, make_checkpoint(step))
    (tmp_path / "step-0000000020" / "facts.json").write_bytes(b"{}")
    save_checkpoint(tmp_path, make_checkpoint(15))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000000010", "step-0000000015"]
    save_checkpoint(tmp_path, make_checkpoint(20))
    loaded = load_checkpoint(tmp_path, on_damage=fail)
    assert loaded is not None
    assert same_bits(loaded, make_checkpoint(20))


KILLED_EVERYWHERE = '''
"""Save a checkpoint in a child that is killed before its n-th file operation, for every n; print what each leaves."""
import os, shutil, signal, sys
from pathlib import Path
import numpy as np
from convscope.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")
left = None  # operations until the kill; None: no kill

def count_down():
    global left
    if left is not None:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(lambda event, _: count_down() if event in EVENTS else None)
fsync = os.fsync
os.fsync = lambda file: (count_down(), fsync(file))

def checkpoint(step):
    return Checkpoint(step, {"values": np.full(4, step)}, {"step": step})

def damage(text):
    print("damaged:", text)

base, before = Path(sys.argv[1]), [int(word) for word in sys.argv[2:]]
for operation in range(1000):
    folder = base / str(operation)
    for step in before:
        save_checkpoint(folder, checkpoint(step))
    child = os.fork()
    if child == 0:
        left = operation
        save_checkpoint(folder, checkpoint(3))
        os._exit(0)
    survived = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    state = load_checkpoint(folder, on_damage=damage)
    intact = state is None or (state.arrays["values"] == state.step).all() and state.facts["step"] == state.step
    save_checkpoint(folder, checkpoint(4))
    after = load_checkpoint(folder, on_damage=damage).step
    others = [path.name for path in folder.iterdir() if not path.name.startswith("step-")]
    print(survived, state and state.step, bool(intact), after, others)
    shutil.rmtree(folder)
    if survived:
        break
'''


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("before", [(1, 2), (), (2, 3)], ids=["third", "first", "same step again"])
def test_a_kill_at_any_operation_leaves_an_intact_state(tmp_path: Path, before: tuple[int, ...]) -> None:
    """Killed before its n-th file operation, for every n, a save leaves the state before or its own, and no other file.

    Nothing is ever reported as damaged, and the next save works.
    """
    result = run_python(KILLED_EVERYWHERE, tmp_path, *before)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert len(lines) > 15
    newest, earlier = before[-1] if before else None, max((step for step in before if step != 3), default=None)
    assert set(lines) <= {f"False {earlier} True 4 []", "False 3 True 4 []", "True 3 True 4 []"}, result.out
    assert (lines[0], lines[-1]) == (f"False {newest} True 4 []", "True 3 True 4 []")
    if newest != 3:
        saved = [" 3 " in line for line in lines]
        assert saved == sorted(saved)  # once it is there, it stays
