"""Checkpoints: everything needed to go on exactly, written so that one is there whole or not at all.

A checkpoint is a folder `step-N` with the arrays (safetensors), the facts (JSON) and a manifest of their SHA-256. It is
written under another name, flushed, and renamed; the last two are kept. One that is not what was written is never used.
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
KEPT = 2
ARRAYS, FACTS, MANIFEST = "arrays.safetensors", "facts.json", "manifest.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training: arrays by name, and facts that JSON can hold (floats come back to the last bit)."""

    step: int
    arrays: Mapping[str, NDArray[np.generic]]
    facts: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint into `folder`, and drop all but it and the one before.

    Later ones are dropped too: they were damaged, or the training would have gone on from them.
    """
    place = folder / _name(checkpoint.step)
    files = {
        ARRAYS: _to_safetensors(checkpoint.arrays),
        FACTS: json.dumps(dict(checkpoint.facts), ensure_ascii=False).encode(),
    }
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    with staged_folder(place) as staged:
        for name, data in files.items():
            write_atomic(staged / name, data)
        write_atomic(staged / MANIFEST, json.dumps({"format": FORMAT, "step": checkpoint.step, "sha256": hashes}))
    places = _places(folder)
    now = places.index(place)
    for other in (*places[: max(now + 1 - KEPT, 0)], *places[now + 1 :], *folder.glob(".*.part")):  # by a kill
        shutil.rmtree(other, ignore_errors=True)
    return place


def load_checkpoint(folder: Path, *, tell: Callable[[str], None]) -> Checkpoint | None:
    """The newest whole checkpoint in `folder`, or None where there is none; `tell` hears of each damaged one.

    Raises:
        RunError: there are checkpoints, and all of them are damaged.
    """
    places = _places(folder)
    for place in reversed(places):
        try:
            return _read(place)
        except (OSError, ValueError, KeyError, TypeError) as error:
            tell(f"checkpoint {place} is damaged ({error}): using the one before")
    if places:
        raise RunError(
            found=f"no whole checkpoint among {len(places)} in {folder}",
            expected="at least one whose SHA-256 match its manifest",
            fix="start anew with another --out",
        )
    return None


def _to_safetensors(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Arrays as the bytes of a safetensors file, ordered by name."""
    # safetensors writes the memory of an array as it lies there, transposed ones included: put it in order first
    return safetensors.save({name: np.asarray(array, order="C") for name, array in sorted(arrays.items())})


def _read(place: Path) -> Checkpoint:
    manifest = json.loads((place / MANIFEST).read_bytes())
    if manifest["format"] != FORMAT:
        raise ValueError(f"format {manifest['format']}, not {FORMAT}")
    if _name(manifest["step"]) != place.name:
        raise ValueError(f"{MANIFEST} is not what was written")
    files = {}
    for name in (ARRAYS, FACTS):
        files[name] = (place / name).read_bytes()
        if hashlib.sha256(files[name]).hexdigest() != manifest["sha256"][name]:
            raise ValueError(f"{name} is not what was written")
    return Checkpoint(manifest["step"], safetensors.load(files[ARRAYS]), json.loads(files[FACTS]))


def _name(step: int) -> str:
    return f"step-{step:010d}"


def _places(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    return sorted(place for place in folder.glob("step-*") if place.is_dir()) if folder.is_dir() else []
