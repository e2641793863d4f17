"""The program: Ctrl-C and SIGTERM end it with `stopped` from its first moment on, also while it is still loading."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from convscope.errors import Interrupted

LOADING = "<frozen importlib._bootstrap>"  # what Python calls the file of `import`


def main() -> None:
    """Run a command."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as it is under nohup
            signal.signal(number, stop)
    try:
        from convscope.cli import main as run

        run()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(Interrupted.exit_code)


def stop(_number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; or, while a module loads, end at once.

    What loads has written nothing yet; and a library in C that is cut short by an exception makes of it an ImportError,
    or lets it go.
    """
    while frame is not None:
        if frame.f_code.co_filename == LOADING:
            os.write(2, b"stopped\n")
            os._exit(Interrupted.exit_code)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
