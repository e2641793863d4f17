"""Ctrl-C and SIGTERM as a flag that is checked between two steps, so that no step is interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within the block a first signal only makes the given function return True; a second one acts as usual."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield requested.is_set
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {
        number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN
    }  # ignored signals, as under nohup, stay ignored

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        requested.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    for number in before:
        signal.signal(number, request_stop)
    try:
        yield requested.is_set
    finally:
        restore()
