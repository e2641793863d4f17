"""randomness.py: random numbers depend on seed and purpose, and on nothing else."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import run_python

from convscope.randomness import draw_seed, generator, uniform

SEEDS = st.integers(0, 2**63 - 1)


@pytest.mark.slow
@given(SEEDS, st.text(max_size=5), st.integers(0, 99))
def test_the_same_purpose_draws_the_same(seed: int, purpose: str, number: int) -> None:
    """Every time, whatever was drawn in between."""
    first = generator(seed, purpose, number).integers(2**62, size=4).tolist()
    generator(seed, "other").random(10)
    np.random.default_rng(seed).random()
    assert generator(seed, purpose, number).integers(2**62, size=4).tolist() == first
    assert draw_seed(seed, purpose, number) == draw_seed(seed, purpose, number)
    assert uniform(seed, purpose, number) == uniform(seed, purpose, number)


def test_each_seed_and_purpose_draws_other_numbers() -> None:
    """No two of a few hundred draws are equal."""
    drawn = [
        tuple(generator(seed, name, n).integers(2**62, size=2)) for seed in range(9) for name in "ab" for n in range(9)
    ]
    assert len(set(drawn)) == len(drawn)
    assert len({uniform(seed, name) for seed in range(99) for name in "ab"}) == 198
    assert len({draw_seed(seed, name) for seed in range(99) for name in "ab"}) == 198


@given(SEEDS, st.text(max_size=8))
def test_numbers_are_in_their_range(seed: int, purpose: str) -> None:
    """[0, 1) for `uniform`, 31 bits for a library's seed."""
    assert 0 <= uniform(seed, purpose) < 1
    assert 0 <= draw_seed(seed, purpose) < 2**31


def test_the_largest_draw_is_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a digest whose bits are all ones."""
    digest = SimpleNamespace(digest=lambda: b"\xff" * 32)
    monkeypatch.setattr("convscope.randomness.hashlib", SimpleNamespace(sha256=lambda _: digest))
    assert uniform(0, "x") == 1 - 2**-53


def test_uniform_is_uniform() -> None:
    """Ten thousand draws fill ten equal bins, up to chance, and are not correlated."""
    drawn = np.array([uniform(1, "split", n) for n in range(10_000)])
    counts, _ = np.histogram(drawn, 10, (0, 1))
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(10_000 * 0.1 * 0.9)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.05


def test_global_generators_are_untouched() -> None:
    """The state of the global generators of Python and NumPy stays the same."""
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    generator(0, "x").random(5)
    uniform(0, "x")
    draw_seed(0, "x")
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index, union-attr]


@pytest.mark.slow
def test_another_process_draws_the_same() -> None:
    """Whatever its hash seed is, so that a resumed run continues with the same numbers."""
    program = "from convscope.randomness import *; print(draw_seed(5, 'a', 1), uniform(5, '狗'), generator(5).random())"
    output = run_python(program, PYTHONHASHSEED="77", PYTHONUTF8="1").out
    assert output.split() == [str(draw_seed(5, "a", 1)), str(uniform(5, "狗")), str(generator(5).random())]
