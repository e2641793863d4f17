"""signals.py: a first signal is a question, a second one acts, and everything is given back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from convscope.signals import SIGNALS, stop_requests


class Heard(Exception):
    """Raised by the handler that stood before."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[Callable[[int, FrameType | None], None]]:
    """A handler that raises `Heard`, as the process's own for both signals; what was there before comes back."""

    def hear(number: int, _: FrameType | None) -> None:
        raise Heard(number)

    before = {number: signal.signal(number, hear) for number in SIGNALS}
    yield hear
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nothing_is_asked_without_a_signal() -> None:
    """The function says False until a signal comes."""
    with stop_requests() as is_stopped:
        assert not is_stopped()


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_only_asks(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM do nothing but make the function say True, which it goes on saying."""
    with stop_requests() as is_stopped:
        signal.raise_signal(number)
        assert is_stopped()
        assert is_stopped()


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_second_signal_acts_as_it_always_did(first: signal.Signals, second: signal.Signals) -> None:
    """Whoever cannot wait asks twice, by the same signal or the other."""
    with stop_requests():
        signal.raise_signal(first)
        with pytest.raises(Heard):
            signal.raise_signal(second)


def test_handlers_are_given_back(handlers: Callable[[int, FrameType | None], None]) -> None:
    """After the block, also one that ends with an error, signals do what they did before."""
    with stop_requests():
        assert signal.getsignal(signal.SIGINT) is not handlers
    assert all(signal.getsignal(number) is handlers for number in SIGNALS)
    with pytest.raises(ValueError, match="broken"), stop_requests():
        raise ValueError("broken")
    assert all(signal.getsignal(number) is handlers for number in SIGNALS)


def test_ignored_signal_stays_ignored() -> None:
    """Where the person had a signal ignored, as nohup and a shell's `&` do, it stops nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_requests() as is_stopped:
        signal.raise_signal(signal.SIGINT)
        assert not is_stopped()
        signal.raise_signal(signal.SIGTERM)
        assert is_stopped()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_blocks_can_be_nested() -> None:
    """A stop inside an inner block is the inner one's; the outer block hears the next signal."""
    with stop_requests() as outer:
        with stop_requests() as inner:
            signal.raise_signal(signal.SIGINT)
            assert inner()
        assert not outer()
        signal.raise_signal(signal.SIGINT)
        assert outer()


def test_other_threads_are_let_be(handlers: Callable[[int, FrameType | None], None]) -> None:
    """In a thread, where Python hears no signals, the block works, says False and touches no handler."""
    seen: list[object] = []

    def work() -> None:
        with stop_requests() as is_stopped:
            seen.extend((is_stopped(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, handlers]
