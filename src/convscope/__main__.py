"""The program: Ctrl-C and SIGTERM end it with `stopped` from the first moment, even while its modules load."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from convscope.cli.exit_codes import STOPPED

RETRY_SECONDS = 0.05
IMPORT_FILE = "<frozen importlib._bootstrap>"  # the file name of the frames of `import`


def main() -> None:
    """Run a command."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, stop)
    sys.unraisablehook = raise_signal_again
    try:
        from convscope.cli.commands import main as run_command

        run_command()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(STOPPED)


def stop(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; while a module is being imported, end the process at once.

    An import has written nothing yet, and a C extension that an exception interrupts turns it into an ImportError or
    drops it.
    """
    while frame is not None:
        if frame.f_code.co_filename == IMPORT_FILE:
            os.write(2, b"stopped\n")
            os._exit(STOPPED)
        frame = frame.f_back
    raise KeyboardInterrupt(number)


def raise_signal_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Send a signal again whose KeyboardInterrupt came in a finaliser, where Python drops exceptions; report others."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt) and unraisable.exc_value.args:
        threading.Timer(RETRY_SECONDS, os.kill, (os.getpid(), *unraisable.exc_value.args)).start()
    else:
        sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    main()
