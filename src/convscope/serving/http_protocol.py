"""Uvicorn's HTTP protocol for clients that are slow or wrong: a head has to arrive in time, and nonsense gets JSON."""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from convscope.serving.http_errors import Refusal

HEAD_SECONDS = 10.0  # for the head of a request to arrive whole, or for the rest of a body that was refused


class PatientProtocol(H11Protocol):
    """One connection. Uvicorn waits for ever where a client has begun a request; this waits `HEAD_SECONDS`."""

    patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """It has said something."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        super().connection_lost(exc)
        self._stop_watching()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, where an answer can still be given."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            refusal = Refusal(
                400, found=msg.rstrip("."), expected="a request in HTTP/1.1", fix="let an HTTP library write it"
            )
            body = json.dumps(refusal.to_json()).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        """Be patient with a client that owes the rest of what it began; once, however many bytes it drips."""
        is_answering = bool(self.cycle) and not self.cycle.response_complete  # Uvicorn has None before the first
        if is_answering:
            self._stop_watching()
        elif self.patience is None:
            self.patience = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_watching(self) -> None:
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None
