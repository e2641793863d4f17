"""Tables of predictions for tests: reading them, and checking each row against the model."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tiny_model import TinyModel

from convscope.images.decoder_pool import InputSpec, decode_file
from convscope.images.image_reader import read_image

CLASSES = ("ring", 'a, "b"', "狗")  # not in alphabetical order: a model's classes need not be
SQUARE = InputSpec(8, "pad")


def read_rows(table: Path | str) -> list[dict[str, str]]:
    """The rows of a CSV file, or of its text, by column."""
    text = table if isinstance(table, str) else table.read_bytes().decode("utf-8", "surrogateescape")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def expected_probabilities(model: TinyModel, path: str | Path) -> NDArray[np.float64]:
    """(num_classes,): what the model predicts for a file, computed by NumPy."""
    image = read_image(Path(path), size=model.square.size, fit=model.square.fit)
    return model.predict(image[np.newaxis])[0]


def check_rows(model: TinyModel, rows: Sequence[dict[str, str]], paths: Sequence[str]) -> None:
    """Each row belongs to its own path, in order, and holds what the model predicts for that file alone."""
    assert [row["path"] for row in rows] == paths
    for row in rows:
        if reason := decode_file(row["path"], model.square).reason:
            assert row == dict.fromkeys(row, "") | {"path": row["path"], "status": "unreadable", "error": reason}
            continue
        probabilities = expected_probabilities(model, row["path"])
        np.testing.assert_allclose([float(row[name]) for name in model.classes], probabilities, atol=1e-5)
        assert row["label"] == model.classes[probabilities.argmax()]
        assert float(row["confidence"]) == max(float(row[name]) for name in model.classes)
        assert (row["status"], row["error"]) == ("ok", "")
