"""Checkpoints: everything that continuing exactly needs, each written atomically.

A checkpoint is a folder `step-N` with the arrays (safetensors), the facts (JSON) and a manifest of their SHA-256. It is
written under another name, flushed, and renamed; the last two are kept. A damaged one is never used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import numpy as safetensors

from convscope.errors import RunError
from convscope.files import staged_folder, write_atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
CHECKPOINT_SECONDS = 60.0  # between epochs: the most that a kill can cost. Saving takes 0.1 s for 2 million weights
NUM_KEPT = 2
ARRAYS, FACTS, MANIFEST = "arrays.safetensors", "facts.json", "manifest.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training: arrays by name, and facts that JSON can hold (floats come back to the last bit)."""

    step: int
    arrays: Mapping[str, NDArray[np.generic]]
    facts: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint into `folder`, and delete all but it and the one before.

    Later ones are deleted too: they are damaged, or the training would have continued from them.

    Returns: the folder of the checkpoint.
    """
    path = folder / _name(checkpoint.step)
    files = {
        ARRAYS: _to_safetensors(checkpoint.arrays),
        FACTS: json.dumps(dict(checkpoint.facts), ensure_ascii=False).encode(),
    }
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    with staged_folder(path) as staged:
        for name, data in files.items():
            write_atomic(staged / name, data)
        write_atomic(staged / MANIFEST, json.dumps({"format": FORMAT, "step": checkpoint.step, "sha256": hashes}))
    saved = _list_checkpoints(folder)
    index = saved.index(path)
    unfinished = folder.glob(".*.part")  # left by a kill
    for old in (*saved[: max(index + 1 - NUM_KEPT, 0)], *saved[index + 1 :], *unfinished):
        shutil.rmtree(old, ignore_errors=True)
    return path


def load_checkpoint(folder: Path, *, on_damage: Callable[[str], None]) -> Checkpoint | None:
    """The newest intact checkpoint in `folder`; None where there is none.

    Args:
        folder: with the checkpoints.
        on_damage: called with a message for each damaged one.

    Raises:
        RunError: there are checkpoints, and all of them are damaged.
    """
    saved = _list_checkpoints(folder)
    for path in reversed(saved):
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            on_damage(f"checkpoint {path} is damaged ({error}): using the one before")
    if saved:
        raise RunError(
            found=f"no intact checkpoint among {len(saved)} in {folder}",
            expected="at least one whose SHA-256 match its manifest",
            fix="start a new run with another `out`",
        )
    return None


def _to_safetensors(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Arrays as the bytes of a safetensors file, ordered by name."""
    # safetensors writes the memory of an array as it is, transposed or not: put it in order first
    return safetensors.save({name: np.asarray(array, order="C") for name, array in sorted(arrays.items())})


def _read(path: Path) -> Checkpoint:
    manifest = json.loads((path / MANIFEST).read_bytes())
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']}, not {FORMAT}")
    if _name(manifest["step"]) != path.name:
        raise ValueError(f"{MANIFEST} differs from what was written")
    files = {}
    for name in (ARRAYS, FACTS):
        files[name] = (path / name).read_bytes()
        if hashlib.sha256(files[name]).hexdigest() != manifest["sha256"][name]:
            raise ValueError(f"{name} differs from what was written")
    return Checkpoint(manifest["step"], safetensors.load(files[ARRAYS]), json.loads(files[FACTS]))


def _name(step: int) -> str:
    return f"step-{step:010d}"


def _list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir()) if folder.is_dir() else []
