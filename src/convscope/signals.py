"""Ctrl-C and SIGTERM as a question that is asked between two steps, so that nothing is ever cut in half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Inside the block a first signal only makes the given function say True; a second acts as it always did."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield requested.is_set
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}  # under nohup

    def hear(_number: int, _frame: FrameType | None) -> None:
        requested.set()
        give_back()

    def give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    for number in before:
        signal.signal(number, hear)
    try:
        yield requested.is_set
    finally:
        give_back()
