"""A load generator for HTTP on loopback, in a process of its own: raw sockets, requests made beforehand.

`python load.py JOB.json` prints a JSON object. A job says where to, which files to send, over how many connections,
for how long, and at which rate; without a rate each connection asks again as soon as it is answered.
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


@dataclass(slots=True)
class Tally:
    """What came back: seconds of the answers that were 200, how many of each status, and when the last 200 came."""

    accepted: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    unsent: int = 0

    def to_json(self, seconds: float) -> dict[str, Any]:
        ordered = sorted(self.accepted)
        at = {name: ordered[int(len(ordered) * share)] if ordered else None for name, share in SHARES.items()}
        return {"seconds": seconds, "statuses": self.statuses, "unsent": self.unsent, **at}


SHARES = {"median_seconds": 0.5, "p99_seconds": 0.99}


class Client(asyncio.Protocol):
    """One connection, with at most one request on its way; once answered it waits in `idle`, or asks `again`."""

    def __init__(self, tally: Tally, idle: deque[Client]) -> None:
        self.tally, self.idle = tally, idle
        self.again: Iterator[bytes] | None = None
        self.transport: asyncio.Transport
        self.received = bytearray()
        self.asked = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.idle.append(self)

    def ask(self, request: bytes, due: float) -> None:
        """Send a request that should have been sent at `due`."""
        self.asked = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        status = head[9:12].decode()
        self.tally.statuses[status] += 1
        if status == "200":
            self.tally.accepted.append(time.perf_counter() - self.asked)
        self.received.clear()
        self.asked = 0.0
        if self.again is None:
            self.idle.append(self)
        else:
            self.ask(next(self.again), time.perf_counter())

    def connection_lost(self, _error: Exception | None) -> None:
        if self.asked:
            self.tally.statuses["connection lost"] += 1
        elif self in self.idle:
            self.idle.remove(self)


async def load(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job."""
    requests = requests_of(job["files"], job["port"])
    tally, idle = Tally(), deque[Client]()
    loop = asyncio.get_running_loop()
    for _ in range(job["connections"]):
        await loop.create_connection(lambda: Client(tally, idle), "127.0.0.1", job["port"])
    started = time.perf_counter()
    ends = started + job["seconds"]
    if job["rate"]:
        await at_rate(requests, idle, tally, rate=job["rate"], ends=ends)
    else:
        await without_pause(requests, idle, ends=ends)
    seconds = time.perf_counter() - started
    patience = time.perf_counter() + job["patience_seconds"]
    while len(idle) < job["connections"] and time.perf_counter() < patience:  # what is on its way still counts
        await asyncio.sleep(TICK_SECONDS)
    return tally.to_json(seconds)


async def without_pause(requests: Iterator[bytes], idle: deque[Client], *, ends: float) -> None:
    """Keep every connection busy. Nothing is polled: what the load takes of the cores is not the service's."""
    clients = list(idle)
    idle.clear()
    for client in clients:
        client.again = requests
        client.ask(next(requests), time.perf_counter())
    await asyncio.sleep(ends - time.perf_counter())
    for client in clients:
        client.again = None


async def at_rate(requests: Iterator[bytes], idle: deque[Client], tally: Tally, *, rate: float, ends: float) -> None:
    """Send `rate` requests a second, whatever becomes of them; one for which no connection is free is counted."""
    started = time.perf_counter()
    sent = 0
    while (now := time.perf_counter()) < ends:
        while sent < (now - started) * rate:
            if idle:
                idle.popleft().ask(next(requests), started + sent / rate)
            else:
                tally.unsent += 1
            sent += 1
        await asyncio.sleep(TICK_SECONDS)


def requests_of(files: list[str], port: int) -> Iterator[bytes]:
    """A request for each file, round and round."""
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/jpeg\r\nContent-Length: "
    bodies = [Path(file).read_bytes() for file in files]
    return itertools.cycle([f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])


if __name__ == "__main__":
    print(json.dumps(asyncio.run(load(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))))
