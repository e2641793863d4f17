"""The program: Ctrl-C and SIGTERM end it with `stopped` from its first moment on, also while it is still loading."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from convscope.errors import Interrupted

AGAIN_SECONDS = 0.05
LOADING = "<frozen importlib._bootstrap>"  # what Python calls the file of `import`


def main() -> None:
    """Run a command."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as it is under nohup
            signal.signal(number, stop)
    sys.unraisablehook = stop_again
    try:
        from convscope.cli.commands import main as run

        run()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(Interrupted.exit_code)


def stop(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; or, while a module loads, end at once.

    What loads has written nothing yet; and a library in C that is cut short by an exception makes of it an ImportError,
    or lets it go.
    """
    while frame is not None:
        if frame.f_code.co_filename == LOADING:
            os.write(2, b"stopped\n")
            os._exit(Interrupted.exit_code)
        frame = frame.f_back
    raise KeyboardInterrupt(number)


def stop_again(lost: sys.UnraisableHookArgs) -> None:
    """Repeat a signal that came while Python ran a finaliser, where it lets go of every exception; tell all others."""
    if isinstance(lost.exc_value, KeyboardInterrupt) and lost.exc_value.args:
        threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), *lost.exc_value.args)).start()
    else:
        sys.__unraisablehook__(lost)


if __name__ == "__main__":
    main()
