"""Batches: their order is a pure function of seed and epoch, so any step can be repeated."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.datasets.augmentation import Augmentation
from convscope.datasets.batches import (
    BATCHES_AHEAD,
    BatchOrder,
    Prefetch,
    TrainingInput,
    evaluation_batches,
    training_batches,
)

IMAGES = np.arange(40 * 4, dtype=np.uint8).reshape(40, 2, 2, 1)
LABELS = np.arange(40, dtype=np.int32)


def order(count: int, batch_size: int, seed: int = 0) -> BatchOrder:
    """The order of rows 2, 4, 6, ..., so that rows and positions differ."""
    return BatchOrder(np.arange(count, dtype=np.int64) * 2, batch_size, seed)


def training_input(order: BatchOrder, *, flip: bool = False, zoom: float = 0.0) -> TrainingInput:
    """IMAGES, for three steps at 1 pixel, then at 2."""
    return TrainingInput(
        images={1: IMAGES[:, :1, :1], 2: IMAGES},
        labels=LABELS,
        order=order,
        augmentation=Augmentation(zoom=zoom, flip=flip, shift=0.0, erase=0.0, seed=order.seed),
        size_at_step=lambda step: 1 if step < 3 else 2,
    )


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 99), st.integers(0, 2**63 - 1))
def test_an_epoch_has_every_image_once(count: int, batch_size: int, epoch: int, seed: int) -> None:
    """Except those that fill no batch; batches have one size; a small data set is one batch."""
    steps = order(count, batch_size, seed).epoch(epoch)
    counts = Counter(steps.ravel().tolist())
    assert steps.shape == (order(count, batch_size).steps_per_epoch, min(batch_size, count))
    assert max(counts.values()) == 1
    assert counts.keys() <= set(range(0, 2 * count, 2))
    assert count - len(counts) < batch_size


def test_the_order_follows_from_seed_and_epoch() -> None:
    """Equal arguments give an equal order, another epoch or seed another one."""
    first = order(100, 10).epoch(5)
    np.testing.assert_array_equal(order(100, 10).epoch(5), first)
    assert not np.array_equal(order(100, 10).epoch(6), first)
    assert not np.array_equal(order(100, 10, seed=1).epoch(5), first)


def test_images_that_an_epoch_leaves_out_are_in_others() -> None:
    """With 19 images in batches of 10, each is left out sometimes, and none always."""
    counts = Counter(row for epoch in range(50) for row in order(19, 10).epoch(epoch).ravel().tolist())
    assert len(counts) == 19
    assert max(counts.values()) < 50


@pytest.mark.parametrize("start", [0, 1, 3, 4, 7, 41])
def test_training_may_start_at_any_step(start: int) -> None:
    """Batches from step n on equal those after n steps from the start, with the labels of their images."""
    full = training_batches(training_input(order(20, 5)), start=0)
    resumed = training_batches(training_input(order(20, 5)), start=start)
    for (images, labels), (others, other_labels) in zip(islice(full, start, start + 9), resumed, strict=False):
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, other_labels)
        size = images.shape[1]
        np.testing.assert_array_equal(images, IMAGES[labels, :size, :size])
        assert (images.shape, images.dtype, labels.dtype) == ((5, size, size, 1), np.uint8, np.int32)


def test_each_step_has_its_size_and_its_augmentation() -> None:
    """Three small batches, then large ones, in the order of the epochs; flips are those of the epoch."""
    pipeline = training_input(order(20, 5), flip=True)
    batches = list(islice(training_batches(pipeline, start=0), 12))
    assert [images.shape[1] for images, _ in batches] == [1] * 3 + [2] * 9
    rows = [row for epoch in range(3) for row in pipeline.order.epoch(epoch)]
    for step, (images, labels) in enumerate(batches):
        np.testing.assert_array_equal(labels, rows[step])
        size = images.shape[1]
        plain = IMAGES[rows[step], :size, :size]
        expected = pipeline.augmentation.apply(plain, rows[step], size=size, epoch=step // 4, step=step)
        np.testing.assert_array_equal(images, expected)
    assert any((images != IMAGES[labels]).any() for images, labels in batches[3:])


def test_zoom_crops_the_largest_images() -> None:
    """Three small batches are made of the large images, not of the small ones."""
    pipeline = training_input(order(20, 5), zoom=0.9)
    rows = pipeline.order.epoch(0)
    for step, (images, labels) in enumerate(islice(training_batches(pipeline, start=0), 4)):
        size = 1 if step < 3 else 2
        expected = pipeline.augmentation.apply(IMAGES[rows[step]], rows[step], size=size, epoch=0, step=step)
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, rows[step])
        assert images.shape == (5, size, size, 1)


def test_evaluation_has_every_row_once_in_order() -> None:
    """The last batch may be smaller."""
    rows = np.array([3, 1, 4, 15, 9, 2, 6], np.int64)
    batches = list(evaluation_batches(IMAGES, LABELS, rows, batch_size=3))
    assert [len(labels) for _, labels in batches] == [3, 3, 1]
    assert [label for _, labels in batches for label in labels] == rows.tolist()
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), IMAGES[rows])
    assert list(evaluation_batches(IMAGES, LABELS, rows[:0], batch_size=3)) == []


def test_prefetching_keeps_values_and_order() -> None:
    """And ends where its source ends, however often it is read after."""
    with Prefetch(iter(range(50))) as values:
        assert list(values) == list(range(50))
        assert list(values) == []


def test_prefetching_is_a_few_values_ahead() -> None:
    """Only a few values are made before they are used."""
    num_made = 0

    def count() -> Iterator[int]:
        nonlocal num_made
        while True:
            num_made += 1
            yield num_made

    with Prefetch(count()) as values:
        assert [next(values) for _ in range(10)] == list(range(1, 11))
        end = time.monotonic() + 10
        while num_made < 10 + BATCHES_AHEAD and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.02)
        assert num_made == 10 + BATCHES_AHEAD


def test_an_error_is_raised_where_its_value_would_be() -> None:
    """The values before it are there; after it the iterator ends, and nothing hangs."""

    def fail() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    with Prefetch(fail()) as values:
        assert [next(values), next(values)] == [1, 2]
        with pytest.raises(OSError, match="the disk is gone"):
            next(values)
        assert list(values) == []


def test_leaving_the_block_ends_the_thread() -> None:
    """After an endless source, an unread one, or an error in the block."""
    before = threading.active_count()
    with Prefetch(training_batches(training_input(order(20, 5)), start=0)) as values:
        next(values)
    with Prefetch(iter(range(1000))):
        pass
    with pytest.raises(KeyboardInterrupt), Prefetch(iter(range(1000))):
        raise KeyboardInterrupt
    assert threading.active_count() == before
    with pytest.raises(RuntimeError):
        next(values)
