"""A worker module for the tests: it sends each message back, after an action that the message names."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

from convscope.worker_process import Message, Reply


def serve_parent(requests: Iterator[Message], reply: Reply) -> None:
    """Reply with the same message, after what its `do` names."""
    for fields, data in requests:
        match fields.get("do"):
            case "exit":
                print("out of luck", file=sys.stderr, flush=True)
                os._exit(3)
            case "raise":
                raise ValueError("no such thing")
            case "return":
                return
            case "print":
                print("hello from a library", flush=True)
                subprocess.run(["echo", "hello from its child"], check=True)
            case "sleep":
                time.sleep(600)
            case "reply and sleep":
                reply({}, b"")
                time.sleep(600)
            case "count":
                for number in range(3):
                    reply({"number": number}, b"")
        reply(fields | {"arguments": sys.stdin.read() if fields.get("do") == "read" else ""}, bytes(data))
