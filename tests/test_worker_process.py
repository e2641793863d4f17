"""Worker processes: messages come back as they were sent, and the worker's end is an exception, never the parent's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import SOURCE, is_running, start_python, wait_until_ended

from convscope.worker_process import WorkerFailed, WorkerProcess

TESTS = Path(__file__).parent


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    """A worker that sends each message back, and keeps its standard error."""
    with WorkerProcess("echo_worker", keep_stderr=True) as worker:
        yield worker


@pytest.mark.slow
@pytest.mark.parametrize("num_bytes", [0, 1, 5_000_000])
def test_messages_come_back_as_they_were_sent(worker: WorkerProcess, num_bytes: int) -> None:
    """Any text, names that are not UTF-8 among it, and any bytes, more than a pipe holds at once."""
    data = os.urandom(num_bytes)
    fields, returned = worker.request({"text": "狗\n\0\udcff", "list": [1, None]}, data)
    assert (fields["text"], fields["list"], returned) == ("狗\n\0\udcff", [1, None], data)


def test_a_message_may_have_several_replies(worker: WorkerProcess) -> None:
    """They come in order, the last one too."""
    replies = [worker.request({"do": "count"}), *(worker.receive() for _ in range(3))]
    assert [fields.get("number") for fields, _ in replies] == [0, 1, 2, None]


def test_output_of_libraries_is_no_message(worker: WorkerProcess) -> None:
    """What the worker or its children print goes to standard error, and they find standard input empty."""
    assert worker.request({"do": "print"}, b"data")[1] == b"data"
    assert worker.request({"do": "read"})[0]["arguments"] == ""
    with pytest.raises(WorkerFailed, match="hello from a library hello from its child"):
        worker.request({"do": "exit"})


def test_output_before_the_start_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python installation whose start-up files print to standard output is no obstacle."""
    (tmp_path / "sitecustomize.py").write_text("print('welcome'); print('to this site', end='', flush=True)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with WorkerProcess("echo_worker") as worker:
        assert worker.request({"number": 1})[0]["number"] == 1


def test_other_bytes_between_messages_are_an_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that writes to the pipe by other means is ended, since its messages cannot be found any more."""
    (tmp_path / "noisy_worker.py").write_text(
        "import os\n"
        "pipe = max(int(name) for name in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{name}'))\n"
        "def serve_parent(requests, reply):\n"
        "    for _ in requests:\n"
        "        os.write(pipe, b'other bytes' * 100)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with WorkerProcess("noisy_worker") as worker:
        with pytest.raises(WorkerFailed, match="sent no message: b'other bytes") as caught:
            worker.request({})
        assert caught.value.has_started
        assert wait_until_ended(worker.pid)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("exit", "ended with 3: out of luck"),
        ("raise", "ended with 1: .*ValueError: no such thing"),
        ("return", "ended with 0: without any output"),
    ],
)
def test_a_worker_that_ends_is_an_exception(worker: WorkerProcess, action: str, text: str) -> None:
    """However it ends, its exit code and its last output are quoted, also for every later message."""
    for _ in range(2):
        with pytest.raises(WorkerFailed, match=text) as caught:
            worker.request({"do": action})
        assert caught.value.has_started


@pytest.mark.slow
def test_a_killed_worker_is_an_exception(worker: WorkerProcess) -> None:
    """Killed while it waits or while it works, as by a system that runs out of memory."""
    worker.request({})
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerFailed, match="ended with -9") as caught:
        worker.request({}, bytes(10_000_000))
    assert caught.value.has_started
    with WorkerProcess("echo_worker") as other:
        other.request({})
        threading.Timer(0.2, os.kill, (other.pid, signal.SIGKILL)).start()
        with pytest.raises(WorkerFailed, match="ended with -9"):
            other.request({"do": "sleep"})


def test_a_worker_that_never_starts_is_an_exception(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A module that is not there, an interpreter that ends at once, none at all: no message is the cause."""
    with (
        WorkerProcess("convscope.no_such_module", keep_stderr=True) as worker,
        pytest.raises(WorkerFailed, match="No module named") as caught,
    ):
        worker.request({})
    assert not caught.value.has_started
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with WorkerProcess("echo_worker") as worker, pytest.raises(WorkerFailed, match="ended with 1") as caught:
        worker.request({})
    assert not caught.value.has_started
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(WorkerFailed, match="could not be started") as caught:
        WorkerProcess("echo_worker")
    assert not caught.value.has_started


def test_closing_ends_a_worker_that_works(worker: WorkerProcess) -> None:
    """Closing waits for no reply, and may be done twice."""
    worker.request({"do": "reply and sleep"})
    start = time.monotonic()
    worker.close()
    worker.close()
    assert time.monotonic() - start < 5
    assert not is_running(worker.pid)


@pytest.mark.slow
def test_workers_end_with_their_parent() -> None:
    """A parent that is killed leaves no worker behind, whether it waits or works."""
    program = """
from convscope.worker_process import WorkerProcess
waiting, working = WorkerProcess("echo_worker"), WorkerProcess("echo_worker")
waiting.request({})
print(waiting.pid, working.pid, flush=True)
working.request({"do": "sleep"})
"""
    with start_python(program, path=[TESTS]) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        time.sleep(0.5)
        assert all(map(is_running, pids))
        parent.kill()
    assert len(pids) == 2
    assert wait_until_ended(*pids)


def test_interrupts_are_for_the_parent_alone(worker: WorkerProcess) -> None:
    """A worker has its process group, and ignores Ctrl-C from its first message on."""
    worker.request({})
    assert os.getpgid(worker.pid) == worker.pid
    os.kill(worker.pid, signal.SIGINT)
    assert worker.request({"number": 2})[0]["number"] == 2


@pytest.mark.slow
def test_the_callers_script_is_not_run_again(tmp_path: Path) -> None:
    """A script without `if __name__ == "__main__"` runs once; a module of the same folder breaks nothing."""
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong module')", encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:1] = [{str(SOURCE)!r}, {str(TESTS)!r}]\n"
        "print('once', flush=True)\n"
        "from convscope.worker_process import WorkerProcess\n"
        "with WorkerProcess('echo_worker') as worker:\n"
        "    print(worker.request({'number': 3})[0]['number'])\n",
        encoding="utf-8",
    )
    result = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("once\n3\n", "")
