"""The verb `serve`: where it listens, what it says, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from commands import Command, start
from served import photo, read_all, slow_photo

from convscope.errors import ConvscopeError
from convscope.serving.serving import KEY_VARIABLE, listen, read_key


@contextmanager
def command(*words: object) -> Iterator[tuple[subprocess.Popen[str], httpx.Client, str]]:
    """`convscope serve WORDS...`, a client of it, and the line that it said; killed at the end if it still runs."""
    child = start("serve", *words, "--port", 0)
    try:
        assert child.stderr is not None
        line = child.stderr.readline()
        assert " at http://" in line, line + child.stderr.read()
        with httpx.Client(base_url=line.split(" at ")[1].strip(), timeout=60) as client:
            yield child, client, line
    finally:
        child.kill()
        child.communicate()


def test_it_says_where_and_what(run_folder: Path) -> None:
    """One line with the model and the address; on loopback unless told otherwise."""
    with command(run_folder) as (_, client, line):
        assert line.startswith("serving colours (3 classes, 8 px) at http://127.0.0.1:")
        assert client.get("/ready").status_code == 200


def test_answers_do_not_wait_for_confirmation() -> None:
    """What is accepted sends at once: the two halves of an answer are not held back for 40 ms."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_sigterm_drains(run_folder: Path) -> None:
    """What is queued is answered, nobody new is let in, nothing else is said, and the exit code is 0."""
    slow = slow_photo()
    with command(run_folder) as (child, client, _), ThreadPoolExecutor(3) as crew:
        answers = [crew.submit(client.post, "/predict", content=slow) for _ in range(3)]
        until = time.monotonic() + 60
        while "convscope_waiting_images 3.0" not in client.get("/metrics").text:
            assert time.monotonic() < until
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        assert [answer.result().status_code for answer in answers] == [200] * 3
        assert child.wait(60) == 0
        with pytest.raises(httpx.ConnectError):
            client.get("/health")
        assert child.communicate() == ("", "")


def test_body_that_does_not_arrive_does_not_hold_the_end(run_folder: Path) -> None:
    """SIGTERM while a client sends: a rest that comes soon is answered, else 503 in JSON; nothing is said."""
    image = photo("red")
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(image)}\r\n\r\n".encode()
    with command(run_folder) as (child, client, _):
        address = (client.base_url.host, client.base_url.port)
        with socket.create_connection(address) as late, socket.create_connection(address) as soon:
            for line in (late, soon):
                line.sendall(head + image[:10])
            client.get("/health")  # by when it has both
            child.send_signal(signal.SIGTERM)
            started = time.monotonic()
            time.sleep(0.5)
            soon.sendall(image[10:])
            assert read_all(soon).startswith(b"HTTP/1.1 200 ")
            said = read_all(late)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["found"] == "a service that is ending"
        assert child.wait(60) == 0
        assert time.monotonic() - started < 10
        assert child.communicate() == ("", "")


def test_who_has_connected_is_answered(run_folder: Path) -> None:
    """SIGTERM between a client's connection and its request does not reset the connection."""
    with command(run_folder) as (child, client, _):
        address = (client.base_url.host, client.base_url.port)
        lines = [socket.create_connection(address) for _ in range(20)]
        client.get("/health")
        child.send_signal(signal.SIGTERM)
        time.sleep(0.12)  # a service that has heard it, which takes it up to 0.1 s
        for line in lines:
            with line:
                line.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                assert read_all(line).startswith(b"HTTP/1.1 200 ")
        assert child.wait(60) == 0


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.2])
def test_second_ctrl_c_leaves_at_once(run_folder: Path, seconds: float) -> None:
    """Without a traceback, whatever the first has come to."""
    with command(run_folder) as (child, client, _):
        client.get("/health")
        child.send_signal(signal.SIGINT)
        time.sleep(seconds)
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
        assert child.communicate()[1] == "stopped\n"


def test_ctrl_c_ends_it(run_folder: Path) -> None:
    """As everywhere else: the exit code is 130."""
    with command(run_folder) as (child, client, _):
        assert client.post("/predict", content=photo("red")).status_code == 200
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
        assert child.communicate()[1] == "stopped\n"


def test_taken_port_is_told(cli: Command, run_folder: Path) -> None:
    """Three lines and exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = cli("serve", run_folder, "--port", port)
    assert (ended.code, ended.out) == (2, "")
    found, expected, fix = ended.err.splitlines()
    assert f"127.0.0.1:{port} cannot be listened at" in found
    assert "a free port" in expected
    assert "--port" in fix


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "203.0.113.7"], "203.0.113.7:8000 cannot be listened at"),
        (["--host", ""], ":8000 cannot be listened at: an address that is empty"),
        (["--queue", "99999999999"], "a queue of 99999999999"),
        (["--api-key-file", "nowhere"], "nowhere, which cannot be read"),
        (["--deadline", "0s"], "a deadline of 0 s"),
        (["--deadline", "2h"], "a deadline of 7200 s"),
    ],
)
def test_wrong_choices_are_told(cli: Command, run_folder: Path, words: list[str], says: str) -> None:
    """Before anything is listened at."""
    ended = cli("serve", run_folder, *words)
    assert ended.code == 2
    assert says in ended.err.splitlines()[0]


def test_model_that_is_none_is_told(cli: Command, tmp_path: Path) -> None:
    """As for every other command."""
    ended = cli("serve", tmp_path)
    assert ended.code == 2
    assert "no model in" in ended.err


def test_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never from the command line, where every user of the machine could read it; an empty one is no key."""
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_key(None) is None
    monkeypatch.setenv(KEY_VARIABLE, "of the environment")
    assert read_key(None) == "of the environment"
    file = tmp_path / "key"
    file.write_text("of the file\n")
    assert read_key(file) == "of the file"
    for wrong in ("", "\n", "two\nlines", "ключ"):
        file.write_text(wrong)
        with pytest.raises(ConvscopeError, match="no key that a header can hold"):
            read_key(file)


def test_key_of_a_file_is_asked_for(run_folder: Path, tmp_path: Path) -> None:
    """`--api-key-file` reaches the door."""
    (tmp_path / "key").write_text("secret\n")
    with command(run_folder, "--api-key-file", tmp_path / "key", "--cors-origin", "https://example.org") as (
        _,
        client,
        _,
    ):
        assert client.get("/info").status_code == 401
        answer = client.get("/info", headers={"X-API-Key": "secret", "Origin": "https://example.org"})
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://example.org"
