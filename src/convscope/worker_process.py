"""Worker processes: the same interpreter runs one of our modules, which replies to messages through pipes.

For work that may crash its process, or print to standard output: if a worker ends, that is an exception in its parent.
Not multiprocessing, since its children import the caller's script again. A worker imports modules from where its parent
does, not from the current folder, and it ends when its parent ends.

A message is a JSON object and bytes; each has one reply or several, in order. On a pipe it is a header (`MAGIC`, the
two lengths), the object and the bytes. A worker module has one function, `serve_parent(requests, reply)`.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from queue import SimpleQueue
from typing import IO, Any, NoReturn, Self

Message = tuple[dict[str, Any], bytearray]
Reply = Callable[[Mapping[str, Any], bytes], None]

GREETING = b"convscope worker ready\n"
MAGIC = b"CVSC"
HEADER = struct.Struct(">4sIQ")  # MAGIC, the length of the JSON object, the number of bytes after it
BUFFER_BYTES = 1 << 20
MAX_GREETING_BYTES = 1 << 16  # what the start-up files of a Python installation may print before the greeting
QUOTED_OUTPUT = 300  # last characters of its standard error that are quoted when a worker has ended
EXIT_SECONDS = 5.0  # a worker that has closed its pipe must end within


class WorkerFailed(Exception):
    """A worker process ended, or sent something that is no message. The text says which, and quotes its last output.

    Attributes:
        has_started: whether it was ready for its first message; if not, no message is the cause.
    """

    def __init__(self, reason: str, *, has_started: bool) -> None:
        super().__init__(reason)
        self.has_started = has_started


class WorkerProcess:
    """The parent's end. Use it in a `with`, or call `close`: both end the process, whatever it is doing.

    After a `WorkerFailed` the worker replies to no other message; start another one.

    Args:
        module: its dotted name; it has the function `serve_parent(requests, reply)`.
        keep_stderr: whether what the process writes to standard error is kept, and quoted where it fails, rather than
            shown on that of this process.

    Raises:
        WorkerFailed: the system cannot start a process.
    """

    def __init__(self, module: str, *, keep_stderr: bool = False) -> None:
        self._has_started = False
        self._stderr = tempfile.TemporaryFile() if keep_stderr else None  # noqa: SIM115  # closed in `close`
        program = (
            f"import sys; sys.path[:] = {[str(folder) for folder in sys.path]!r}\n"
            f"from convscope.worker_process import run_worker; run_worker({module!r})"
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=BUFFER_BYTES,
                process_group=0 if os.name == "posix" else None,  # Ctrl-C is for the parent alone, from the start on
            )
        except OSError as error:
            if self._stderr is not None:
                self._stderr.close()
            raise WorkerFailed(f"could not be started: {error}", has_started=False) from None

    @property
    def pid(self) -> int:
        """The number that the system has given the process."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, and wait until it has ended."""
        self._process.kill()  # before its pipes are closed: flushing one would wait for a worker that reads no more
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                with suppress(OSError):  # a message that was not sent yet no longer matters
                    stream.close()

    def request(self, fields: Mapping[str, Any], data: bytes = b"") -> Message:
        """Send a message and return the first reply to it.

        Args:
            fields: what JSON can hold.
            data: bytes that go with them.

        Raises:
            WorkerFailed: the process has ended, ends over this message, or sends something that is no message.
        """
        self._await_start()
        try:
            _write(_stream(self._process.stdin), fields, data)
        except OSError:
            raise self._failure() from None
        return self.receive()

    def receive(self) -> Message:
        """The next reply, where a message has several.

        Raises:
            WorkerFailed: as of `request`.
        """
        try:
            return _read(_stream(self._process.stdout))
        except (EOFError, OSError):
            raise self._failure() from None
        except ValueError as error:
            self._process.kill()
            raise WorkerFailed(f"sent no message: {error}", has_started=True) from None

    def _await_start(self) -> None:
        while not self._has_started:
            line = _stream(self._process.stdout).readline(MAX_GREETING_BYTES)
            if not line:
                raise self._failure()
            self._has_started = line.endswith(GREETING)

    def _failure(self) -> WorkerFailed:
        """How the process ended."""
        try:
            code = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        reason = f"ended with {code}"
        if self._stderr is not None:
            self._stderr.seek(0)
            output = " ".join(self._stderr.read().decode("utf-8", "replace").split())[-QUOTED_OUTPUT:]
            reason += f": {output or 'without any output'}"
        return WorkerFailed(reason, has_started=self._has_started)


def run_worker(module: str) -> NoReturn:
    """Run a worker module until its input ends; what `WorkerProcess` starts, in the new process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    warnings.simplefilter("ignore")  # those of Pillow about odd files, and of the libraries that convert
    requests, replies = os.fdopen(os.dup(0), "rb", BUFFER_BYTES), os.fdopen(os.dup(1), "wb", BUFFER_BYTES)
    with open(os.devnull, "rb") as nothing:  # libraries read nothing, and print nothing among the replies
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)

    def reply(fields: Mapping[str, Any], data: bytes = b"") -> None:
        try:
            _write(replies, fields, data)
        except BrokenPipeError:  # the parent has ended
            os._exit(0)

    exit_code = 1
    try:
        serve_parent: Callable[[Iterator[Message], Reply], None] = import_module(module).serve_parent
        replies.write(GREETING)
        replies.flush()
        serve_parent(_receive_all(requests), reply)
        exit_code = 0
    except BaseException:  # the parent gets the exit code; the reason is in standard error
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # a usual end would wait for the thread that reads


def _receive_all(requests: IO[bytes]) -> Iterator[Message]:
    """The parent's messages. A thread reads them, so that this process ends with its parent, also while it works."""
    received: SimpleQueue[Message] = SimpleQueue()

    def read() -> None:
        try:
            while True:
                received.put(_read(requests))
        finally:  # the parent has closed the pipe, or ended
            os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield received.get()


def _write(stream: IO[bytes], fields: Mapping[str, Any], data: bytes) -> None:
    encoded = json.dumps(fields).encode()
    stream.write(HEADER.pack(MAGIC, len(encoded), len(data)) + encoded)
    stream.write(data)
    stream.flush()


def _read(stream: IO[bytes]) -> Message:
    """One message.

    Raises:
        EOFError: the stream ends.
        ValueError: it holds something else.
    """
    header = _read_exactly(stream, HEADER.size)
    magic, num_encoded, num_bytes = HEADER.unpack(header)
    if magic != MAGIC:
        raise ValueError(repr(bytes(header)))
    fields = json.loads(_read_exactly(stream, num_encoded))
    return fields, _read_exactly(stream, num_bytes)


def _read_exactly(stream: IO[bytes], count: int) -> bytearray:
    data = bytearray(count)  # a bytearray, so that an array over it can be written to
    if stream.readinto(data) != count:  # type: ignore[attr-defined]
        raise EOFError
    return data


def _stream(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("a worker process without pipes")
    return pipe
