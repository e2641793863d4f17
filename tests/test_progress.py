"""progress.py: a callback hears where the work is, a few times a second; without one nothing is shown."""

from __future__ import annotations

import pytest

from convscope.progress import Counter, Progress, progress, report_progress


def test_work_is_silent_without_a_callback(capsys: pytest.CaptureFixture[str]) -> None:
    """As a library nothing is printed, however long the work takes."""
    with progress("decoding", 10, unit="images") as counter:
        counter._started -= 100.0
        counter.advance(10)
        assert not counter.is_due()
    assert capsys.readouterr() == ("", "")


def test_callback_hears_beginning_progress_and_end() -> None:
    """Each report is whole: count, pace so far, time left; after the block no more are sent."""
    heard: list[Progress] = []
    with report_progress(heard.append), progress("decoding", 1000, unit="images") as counter:
        counter._started -= 100.0  # as if it had run so long
        counter._next_report = 0.0
        counter.advance(250)
        counter.advance(1)  # too soon for another report
        counter._next_report = 0.0
        counter.advance(249)
    with progress("decoding", 10, unit="images") as counter:
        counter.advance(10)
    assert [(each.done, each.state) for each in heard] == [
        (0, "running"),
        (250, "running"),
        (500, "running"),
        (500, "done"),
    ]
    assert heard[0].seconds_left is None
    assert heard[1].seconds_left == pytest.approx(300, abs=1)
    assert heard[2].seconds_left == pytest.approx(100, abs=1)


def test_failure_is_told_as_one() -> None:
    """Work that raises never counts as done."""
    heard: list[Progress] = []

    def fail() -> None:
        with progress("decoding", 10, unit="images"):
            raise OSError("the disk is gone")

    with report_progress(heard.append), pytest.raises(OSError, match="the disk is gone"):
        fail()
    assert heard[-1].state == "failed"


def test_unknown_end_has_no_time_left() -> None:
    """Only what is known is said."""
    counter = Counter(description="listing", total=None, unit="files")
    counter.advance(2000)
    assert counter.seconds_left() is None


def test_time_left_knows_that_larger_images_take_longer() -> None:
    """Half of the steps done in 50 seconds, the other half four times as much work: 200 seconds left, not 50."""
    counter = Counter(description="training", total=100, unit="steps", work=lambda step: step + 3 * max(step - 50, 0))
    counter._started -= 50.0
    counter.advance(50)
    assert counter.seconds_left() == pytest.approx(200, abs=1)


def test_what_was_done_before_does_not_count_into_the_pace() -> None:
    """A training that goes on at step 50: 50 steps in 50 seconds, 100 to go."""
    counter = Counter(description="training", total=200, unit="steps", done=50)
    counter._started -= 50.0
    counter.advance(50)
    assert counter.seconds_left() == pytest.approx(100, abs=1)
