"""progress.py: a callback gets the progress of work a few times a second; without one nothing is shown."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from convscope.progress import UPDATE_SECONDS, Counter, Progress, progress, report_progress


class Clock:
    """A clock that the test moves."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that progress is measured with."""
    clock = Clock()
    monkeypatch.setattr("convscope.progress.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_work_is_silent_without_a_callback(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    """Nothing is printed, however long the work takes."""
    with progress("decoding", 10, unit="images") as counter:
        clock.now += 100
        counter.advance(10)
        assert not counter.is_due()
    assert capsys.readouterr() == ("", "")


def test_callback_gets_beginning_progress_and_end(clock: Clock) -> None:
    """Each report has the count and the time left at the rate so far; after the block there are no more."""
    reports: list[Progress] = []
    with report_progress(reports.append), progress("decoding", 1000, unit="images") as counter:
        clock.now += 100
        counter.advance(250)
        clock.now += UPDATE_SECONDS / 2  # too soon for another report
        counter.advance(1)
        clock.now += 100 - UPDATE_SECONDS / 2
        counter.advance(249)
    with progress("decoding", 10, unit="images") as counter:
        counter.advance(10)
    assert [(report.done, report.state) for report in reports] == [
        (0, "running"),
        (250, "running"),
        (500, "running"),
        (500, "done"),
    ]
    assert [report.seconds for report in reports] == pytest.approx([0, 100, 200, 200])
    assert [report.seconds_left for report in reports] == [None, *map(pytest.approx, (300, 200, 200))]


def test_failed_work_is_reported_as_failed() -> None:
    """Work that raises is never done."""
    reports: list[Progress] = []

    def fail() -> None:
        with progress("decoding", 10, unit="images"):
            raise OSError("the disk is gone")

    with report_progress(reports.append), pytest.raises(OSError, match="the disk is gone"):
        fail()
    assert reports[-1].state == "failed"


def test_unknown_end_has_no_time_left(clock: Clock) -> None:
    """Without a total there is no estimate."""
    counter = Counter(description="listing", total=None, unit="files")
    clock.now += 10
    counter.advance(2000)
    assert counter.seconds_left() is None


def test_time_left_includes_that_larger_images_take_longer(clock: Clock) -> None:
    """Half of the steps done in 50 seconds, the other half four times as much work: 200 seconds left, not 50."""
    counter = Counter(description="training", total=100, unit="steps", work=lambda step: step + 3 * max(step - 50, 0))
    clock.now += 50
    counter.advance(50)
    assert counter.seconds_left() == pytest.approx(200)


def test_units_done_before_do_not_count_into_the_rate(clock: Clock) -> None:
    """A training resumed at step 50: 50 steps in 50 seconds, 100 to go."""
    counter = Counter(description="training", total=200, unit="steps", done=50)
    clock.now += 50
    counter.advance(50)
    assert counter.seconds_left() == pytest.approx(100)
