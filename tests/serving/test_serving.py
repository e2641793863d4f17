"""The verb `serve`: the address, the messages, the graceful shutdown."""

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
from live_server import photo, read_all, slow_photo
from processes import Command, run_python, start

from convscope.errors import ConvscopeError
from convscope.serving.serving import API_KEY_VARIABLE, bind_socket, read_api_key


@contextmanager
def command(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], httpx.Client, str]]:
    """`convscope serve ARGUMENTS...`, a client of it, and its first line; killed at the end if it still runs."""
    child = start("serve", *arguments, "--port", 0)
    try:
        assert child.stderr is not None
        first_line = child.stderr.readline()
        assert " at http://" in first_line, first_line + child.stderr.read()
        with httpx.Client(base_url=first_line.split(" at ")[1].strip(), timeout=60) as client:
            yield child, client, first_line
    finally:
        child.kill()
        child.communicate()


def test_connections_have_tcp_nodelay() -> None:
    """Else the body of a response is delayed by 40 ms, until the client acknowledges the head."""
    with bind_socket("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_sigterm_drains(run_folder: Path) -> None:
    """Queued images are predicted, new connections are not accepted, nothing is printed, and the exit code is 0.

    Breaks if Uvicorn no longer calls `Server.shutdown` or `capture_signals`.
    """
    slow = slow_photo()
    with command(run_folder) as (child, client, _), ThreadPoolExecutor(3) as executor:
        futures = [executor.submit(client.post, "/predict", content=slow) for _ in range(3)]
        end = time.monotonic() + 60
        while "convscope_waiting_images 3.0" not in client.get("/metrics").text:
            assert time.monotonic() < end
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        assert [future.result().status_code for future in futures] == [200] * 3
        assert child.wait(60) == 0
        with pytest.raises(httpx.ConnectError):
            client.get("/health")
        assert child.communicate() == ("", "")


def test_slow_body_does_not_delay_the_shutdown(run_folder: Path) -> None:
    """SIGTERM while bodies arrive: one whose rest arrives soon is predicted, another gets 503; nothing is printed."""
    image = photo("red")
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(image)}\r\n\r\n".encode()
    with command(run_folder) as (child, client, _):
        address = (client.base_url.host, client.base_url.port)
        with socket.create_connection(address) as late, socket.create_connection(address) as soon:
            for connection in (late, soon):
                connection.sendall(head + image[:10])
            client.get("/health")  # the service has received both by now
            child.send_signal(signal.SIGTERM)
            started = time.monotonic()
            time.sleep(0.5)
            soon.sendall(image[10:])
            assert read_all(soon).startswith(b"HTTP/1.1 200 ")
            response = read_all(late)
        assert response.startswith(b"HTTP/1.1 503 ")
        assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["found"] == "a service that is shutting down"
        assert child.wait(60) == 0
        assert time.monotonic() - started < 10
        assert child.communicate() == ("", "")


def test_connection_before_the_shutdown_gets_its_response(run_folder: Path) -> None:
    """SIGTERM between a client's connection and its request does not reset the connection.

    Breaks if Uvicorn closes the listeners in `servers` before its `shutdown` is called.
    """
    with command(run_folder) as (child, client, _):
        address = (client.base_url.host, client.base_url.port)
        connections = [socket.create_connection(address) for _ in range(20)]
        client.get("/health")
        child.send_signal(signal.SIGTERM)
        time.sleep(0.12)  # Uvicorn polls `should_exit` every 0.1 s
        for connection in connections:
            with connection:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
                assert read_all(connection).startswith(b"HTTP/1.1 200 ")
        assert child.wait(60) == 0


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.2])
def test_second_ctrl_c_exits_at_once(run_folder: Path, seconds: float) -> None:
    """Without a traceback, however far the shutdown is. Breaks if Uvicorn no longer calls `handle_exit`."""
    with command(run_folder) as (child, client, _):
        client.get("/health")
        child.send_signal(signal.SIGINT)
        time.sleep(seconds)
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
        assert child.communicate()[1] == "stopped\n"


def test_ctrl_c_exits_with_130(run_folder: Path) -> None:
    """As every command does."""
    with command(run_folder) as (child, client, _):
        assert client.post("/predict", content=photo("red")).status_code == 200
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
        assert child.communicate()[1] == "stopped\n"


def test_port_in_use(cli: Command, run_folder: Path) -> None:
    """An error in three lines, exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = cli("serve", run_folder, "--port", port)
    assert (result.code, result.out) == (2, "")
    found, expected, fix = result.err.splitlines()
    assert f"cannot bind to 127.0.0.1:{port}: Address already in use" in found
    assert "a free port" in expected
    assert "port" in fix


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "203.0.113.7"], "cannot bind to 203.0.113.7:8000: "),
        (["--host", ""], "cannot bind to :8000: the address is empty"),
        (["--queue", "99999999999"], "a queue of 99999999999"),
        (["--api-key-file", "nowhere"], "nowhere, which cannot be read"),
        (["--deadline", "0s"], "a deadline of 0 s"),
        (["--deadline", "2h"], "a deadline of 7200 s"),
    ],
)
def test_invalid_options(cli: Command, run_folder: Path, arguments: list[str], message: str) -> None:
    """Each is an error before the service starts."""
    result = cli("serve", run_folder, *arguments)
    assert result.code == 2
    assert message in result.err.splitlines()[0]


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "python_multipart", "prometheus_client"])
def test_missing_extra(run_folder: Path, module: str) -> None:
    """Without one of its modules `serve` raises an error that names the extra; settings and key need none of them."""
    program = f"""
import sys
sys.modules[{module!r}] = None
from pathlib import Path
from convscope.errors import MissingExtra
from convscope.serving.serving import read_api_key, serve
from convscope.serving.settings import ServiceSettings
try:
    serve(Path({str(run_folder)!r}), settings=ServiceSettings(api_key=read_api_key(None)))
except MissingExtra as error:
    print(error.fix)
"""
    result = run_python(program)
    assert result.out == "pip install 'convscope[serve]'\n", result.err


def test_folder_without_a_model(cli: Command, tmp_path: Path) -> None:
    """As with every command."""
    result = cli("serve", tmp_path)
    assert result.code == 2
    assert "no model in" in result.err


def test_api_key_from_file_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never from the command line, where every user of the machine could read it; an empty key is an error."""
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    assert read_api_key(None) is None
    monkeypatch.setenv(API_KEY_VARIABLE, "from the environment")
    assert read_api_key(None) == "from the environment"
    file = tmp_path / "key"
    file.write_text("from the file\n")
    assert read_api_key(file) == "from the file"
    for invalid in ("", "\n", "two\nlines", "ключ"):
        file.write_text(invalid)
        with pytest.raises(ConvscopeError, match="without a key that a header can hold"):
            read_api_key(file)


def test_first_line_and_options(run_folder: Path, tmp_path: Path) -> None:
    """The first line has the model and the address, by default of loopback; the options reach the service."""
    (tmp_path / "key").write_text("secret\n")
    options = ["--api-key-file", tmp_path / "key", "--cors-origin", "https://example.org"]
    with command(run_folder, *options) as (_, client, first_line):
        assert first_line.startswith("serving colours (3 classes, 8 px) at http://127.0.0.1:")
        assert client.get("/ready").status_code == 200
        assert client.get("/info").status_code == 401
        response = client.get("/info", headers={"X-API-Key": "secret", "Origin": "https://example.org"})
        assert response.status_code == 200
        assert response.headers["Access-Control-Allow-Origin"] == "https://example.org"
