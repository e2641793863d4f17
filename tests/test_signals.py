"""signals.py: a first signal requests a stop, a second one acts as usual, and the handlers are restored."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from convscope.signals import SIGNALS, stop_requests


class Handled(Exception):
    """Raised by the handler that was installed before."""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[Callable[[int, FrameType | None], None]]:
    """A handler that raises `Handled`, installed for both signals; the handlers before are restored."""

    def handle(number: int, _: FrameType | None) -> None:
        raise Handled(number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    yield handle
    for number, handler in before.items():
        signal.signal(number, handler)


def test_without_a_signal_no_stop_is_requested() -> None:
    """The function returns False until a signal comes."""
    with stop_requests() as is_stopped:
        assert not is_stopped()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_first_signal_requests_a_stop(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM do nothing but make the function return True, from then on."""
    with stop_requests() as is_stopped:
        signal.raise_signal(number)
        assert is_stopped()
        assert is_stopped()


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_acts_as_usual(first: signal.Signals, second: signal.Signals) -> None:
    """The same signal or the other one ends the process at once."""
    with stop_requests():
        signal.raise_signal(first)
        with pytest.raises(Handled):
            signal.raise_signal(second)


def test_handlers_are_restored(handlers: Callable[[int, FrameType | None], None]) -> None:
    """After the block, also one that ends with an error, signals do what they did before."""
    with stop_requests():
        assert signal.getsignal(signal.SIGINT) is not handlers
    assert all(signal.getsignal(number) is handlers for number in SIGNALS)
    with pytest.raises(ValueError, match="broken"), stop_requests():
        raise ValueError("broken")
    assert all(signal.getsignal(number) is handlers for number in SIGNALS)


def test_ignored_signal_stays_ignored() -> None:
    """A signal that was ignored, as by nohup and a shell's `&`, stops nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_requests() as is_stopped:
        signal.raise_signal(signal.SIGINT)
        assert not is_stopped()
        signal.raise_signal(signal.SIGTERM)
        assert is_stopped()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_blocks_can_be_nested() -> None:
    """A stop inside an inner block is the inner one's; the outer block gets the next signal."""
    with stop_requests() as outer:
        with stop_requests() as inner:
            signal.raise_signal(signal.SIGINT)
            assert inner()
        assert not outer()
        signal.raise_signal(signal.SIGINT)
        assert outer()


def test_other_threads_have_no_handlers(handlers: Callable[[int, FrameType | None], None]) -> None:
    """In a thread, where Python handles no signals, the block works, returns False and changes no handler."""
    seen: list[object] = []

    def work() -> None:
        with stop_requests() as is_stopped:
            seen.extend((is_stopped(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, handlers]
