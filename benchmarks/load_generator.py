"""A load generator for HTTP on loopback, in its own process: raw sockets, requests built in advance.

`python load_generator.py JOB.json` prints a JSON object. A job holds the port, the files to send, the number of
connections, the duration, and the rate; with rate 0 each connection sends its next request after each response.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TICK_SECONDS = 0.005
PERCENTILES = {"median_seconds": 0.5, "p99_seconds": 0.99}


@dataclass(slots=True)
class Tally:
    """What came back.

    Attributes:
        latencies: in seconds, of the responses with status 200.
        statuses: responses by status.
        unsent: requests that were due when no connection was free.
    """

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    unsent: int = 0

    def to_json(self, seconds: float) -> dict[str, Any]:
        ordered = sorted(self.latencies)
        percentiles = {
            name: ordered[int(len(ordered) * share)] if ordered else None for name, share in PERCENTILES.items()
        }
        return {"seconds": seconds, "statuses": self.statuses, "unsent": self.unsent, **percentiles}


class Connection(asyncio.Protocol):
    """One connection with at most one request in flight.

    After a response it waits in `idle`, or sends the next of `requests` if that is set.
    """

    def __init__(self, tally: Tally, idle: deque[Connection]) -> None:
        self.tally, self.idle = tally, idle
        self.requests: Iterator[bytes] | None = None
        self.transport: asyncio.Transport
        self.received = bytearray()
        self.sent_at = 0.0  # 0: no request is in flight

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.idle.append(self)

    def send(self, request: bytes, due: float) -> None:
        """Send a request; its latency counts from `due`, when it should have been sent."""
        self.sent_at = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        status = head[9:12].decode()
        self.tally.statuses[status] += 1
        if status == "200":
            self.tally.latencies.append(time.perf_counter() - self.sent_at)
        self.received.clear()
        self.sent_at = 0.0
        if self.requests is None:
            self.idle.append(self)
        else:
            self.send(next(self.requests), time.perf_counter())

    def connection_lost(self, _error: Exception | None) -> None:
        if self.sent_at:
            self.tally.statuses["connection lost"] += 1
        elif self in self.idle:
            self.idle.remove(self)


async def generate_load(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job; returns the tally as JSON."""
    requests = build_requests(job["files"], job["port"])
    tally, idle = Tally(), deque[Connection]()
    loop = asyncio.get_running_loop()
    for _ in range(job["connections"]):
        await loop.create_connection(lambda: Connection(tally, idle), "127.0.0.1", job["port"])
    started = time.perf_counter()
    end = started + job["seconds"]
    if job["rate"]:
        await send_at_rate(requests, idle, tally, rate=job["rate"], end=end)
    else:
        await keep_busy(requests, idle, end=end)
    seconds = time.perf_counter() - started
    response_deadline = time.perf_counter() + job["response_timeout_seconds"]
    while len(idle) < job["connections"] and time.perf_counter() < response_deadline:  # requests in flight still count
        await asyncio.sleep(TICK_SECONDS)
    return tally.to_json(seconds)


async def keep_busy(requests: Iterator[bytes], idle: deque[Connection], *, end: float) -> None:
    """Keep every connection busy. Without polling: the load generator takes as little of the cores as possible."""
    connections = list(idle)
    idle.clear()
    for connection in connections:
        connection.requests = requests
        connection.send(next(requests), time.perf_counter())
    await asyncio.sleep(end - time.perf_counter())
    for connection in connections:
        connection.requests = None


async def send_at_rate(
    requests: Iterator[bytes], idle: deque[Connection], tally: Tally, *, rate: float, end: float
) -> None:
    """Send `rate` requests a second, whatever their responses; count those for which no connection is free."""
    started = time.perf_counter()
    sent = 0
    while (now := time.perf_counter()) < end:
        while sent < (now - started) * rate:
            if idle:
                idle.popleft().send(next(requests), started + sent / rate)
            else:
                tally.unsent += 1
            sent += 1
        await asyncio.sleep(TICK_SECONDS)


def build_requests(files: list[str], port: int) -> Iterator[bytes]:
    """A request for each file, in an endless cycle."""
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/jpeg\r\nContent-Length: "
    bodies = [Path(file).read_bytes() for file in files]
    return itertools.cycle([f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])


if __name__ == "__main__":
    print(json.dumps(asyncio.run(generate_load(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))))
