"""What clients send: bodies counted while they arrive, whatever their header claims, and the files that are in them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from convscope.serving.http_errors import Refusal, shown

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_BYTES = 64 * 1024**2  # of one body
MAX_HELD_BYTES = 4 * MAX_BYTES  # of all bodies together
IGNORED_BYTES = 8 * 1024**2  # read beyond the cap and thrown away, so that most clients get to see the refusal
BODY_SECONDS = 30.0  # for a body to arrive whole
LAST_SECONDS = 2.0  # for the same, when the service ends
MOST_PARTS = 1000  # of a form, fields that are no files included
ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n"}  # all that the HTML standard has browsers escape in a file name
ENCODED_NAME = re.compile(rb"filename\*\s*=\s*utf-8'[^']*'([\w.%!#$&+^`|~-]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a request: the client's name for it, which is only ever repeated, and its bytes."""

    name: str
    data: bytes


class Room:
    """The memory for the bodies of all requests."""

    def __init__(self) -> None:
        self.held = 0
        self.ends = False
        self._arriving: set[asyncio.Timeout] = set()

    def end(self) -> None:
        """Wait no longer than `LAST_SECONDS` for what is still to arrive."""
        self.ends = True
        soon = asyncio.get_running_loop().time() + LAST_SECONDS
        for patience in self._arriving:
            if not patience.expired():
                patience.reschedule(min(patience.when() or math.inf, soon))

    def check_open(self) -> None:
        """Do nothing where the service is not ending.

        Raises:
            Refusal: 503, it is.
        """
        if self.ends:
            raise _ending()

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, which counts as held until the block ends.

        Raises:
            Refusal: 413 too large, 408 too slow, 503 no room.
        """
        claimed = request.headers.get("content-length", "0")
        if claimed.isdecimal() and int(claimed) > MAX_BYTES + IGNORED_BYTES:
            raise _too_large(f"a body of {int(claimed):,} bytes")
        chunks: list[bytes] = []
        held = 0
        try:
            async with self._patience(), aclosing(_arriving(request)) as arriving:
                async for chunk in arriving:
                    held += len(chunk)
                    self.held += len(chunk)
                    if self.held > MAX_HELD_BYTES:
                        raise _no_room()
                    chunks.append(chunk)
            data = b"".join(chunks)
            chunks.clear()
            yield data
        finally:
            self.held -= held

    @asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        """As long as a body may take to arrive."""
        try:
            async with asyncio.timeout(LAST_SECONDS if self.ends else BODY_SECONDS) as patience:
                self._arriving.add(patience)
                try:
                    yield
                finally:
                    self._arriving.discard(patience)
        except TimeoutError:
            raise (_ending() if self.ends else _too_slow()) from None


async def _arriving(request: Request) -> AsyncGenerator[bytes]:
    """The body as it arrives, as much as it may be."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BYTES:
            yield chunk
        elif size > MAX_BYTES + IGNORED_BYTES:
            break
    if size > MAX_BYTES:
        raise _too_large(f"a body of over {MAX_BYTES:,} bytes")


def is_form(request: Request) -> bool:
    """Whether a request says that its body is multipart."""
    return request.headers.get("content-type", "").lower().lstrip().startswith("multipart/")


def uploads_of(request: Request, body: bytes, *, most: int) -> list[Upload]:
    """The files of a body: of a form those that are in it, else the body itself. Pure computing: for a thread.

    Raises:
        Refusal: 400 a form that is none, 422 no file or too many.
    """
    if not is_form(request):
        return [Upload("", body)]
    files = _parse_form(request.headers["content-type"], body)
    if not 1 <= len(files) <= most:
        raise _wrong_count(len(files), most)
    return files


def instances_of(body: bytes, *, most: int) -> list[bytes]:
    """The images of a request in TensorFlow Serving's format, rows of base64. Pure computing: for a thread.

    Raises:
        Refusal: 400 it is not in that format, 422 too many.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _wrong_json(f"JSON that cannot be read: {shown(str(error))}") from None
    instances = asked.get("instances") if isinstance(asked, dict) else None
    if not isinstance(instances, list) or not instances:
        raise _wrong_json('no list "instances"')
    if len(instances) > most:
        raise _wrong_count(len(instances), most)
    return [_decode(instance, place) for place, instance in enumerate(instances)]


def _decode(instance: Any, place: int) -> bytes:
    """`{"b64": TEXT}`, or the same as the only input of a signature, whatever its name."""
    if isinstance(instance, dict) and len(instance) == 1 and "b64" not in instance:
        instance = next(iter(instance.values()))
    text = instance.get("b64") if isinstance(instance, dict) else None
    if not isinstance(text, str):
        raise _wrong_json(f'instances[{place}] without "b64"')
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong_json(f"instances[{place}] whose base64 is damaged") from None


@dataclass(slots=True)
class _Part:
    """A part of a form while it is read."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: bytearray = field(default_factory=bytearray)
    value: bytearray = field(default_factory=bytearray)
    content: list[bytes] = field(default_factory=list)

    def keep_header(self) -> None:
        self.headers[bytes(self.name).lower()] = bytes(self.value)
        self.name, self.value = bytearray(), bytearray()


def _parse_form(content_type: str, body: bytes) -> list[Upload]:
    """The parts of a form that are files, which are those with a file name."""
    parts: list[_Part] = []
    ended = []

    def begin_part() -> None:
        if len(parts) == MOST_PARTS:
            raise _wrong_form(f"over {MOST_PARTS} parts")
        parts.append(_Part())

    callbacks: MultipartCallbacks = {
        "on_part_begin": begin_part,
        "on_header_field": lambda data, start, end: parts[-1].name.extend(data[start:end]),
        "on_header_value": lambda data, start, end: parts[-1].value.extend(data[start:end]),
        "on_header_end": lambda: parts[-1].keep_header(),
        "on_part_data": lambda data, start, end: parts[-1].content.append(data[start:end]),
        "on_end": lambda: ended.append(True),
    }
    _, options = parse_options_header(content_type)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), callbacks)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise _wrong_form(shown(str(error))) from None
    if not ended:
        raise _wrong_form("it has no end")
    files = []
    for part in parts:
        name = _file_name(part.headers.get(b"content-disposition", b""))
        if name is not None:
            files.append(Upload(shown(name), b"".join(part.content)))
    return files


def _file_name(disposition: bytes) -> str | None:
    """The name of a part that is a file, as its client has it."""
    _, described = parse_options_header(disposition)
    if b"filename" in described:
        name = described[b"filename"].decode("utf-8", "replace")
        for escaped, plain in ESCAPED.items():
            name = name.replace(escaped, plain)
        return name
    encoded = ENCODED_NAME.search(disposition)  # RFC 5987, which forms are not to use and some clients do
    return None if encoded is None else unquote(encoded[1].decode("ascii"))


def _too_large(found: str) -> Refusal:
    return Refusal(
        413, found=found, expected=f"at most {MAX_BYTES:,}", fix="send fewer or smaller images at once", closes=True
    )


def _too_slow() -> Refusal:
    return Refusal(
        408,
        found=f"a body that did not arrive whole within {BODY_SECONDS:g} s",
        expected="one that does",
        fix="send fewer or smaller images at once, or over a faster line",
        closes=True,
    )


def _ending() -> Refusal:
    return Refusal(
        503,
        found="a service that is ending",
        expected="a request whose body arrived before",
        fix="ask again after the time in Retry-After: another service may have taken its place",
        retry_seconds=1.0,
        closes=True,
    )


def _no_room() -> Refusal:
    return Refusal(
        503,
        found="no memory left for the bodies of requests",
        expected=f"at most {MAX_HELD_BYTES:,} bytes of all requests together",
        fix="ask again after the time in Retry-After",
        retry_seconds=1.0,
        closes=True,
    )


def _wrong_form(reason: str) -> Refusal:
    return Refusal(
        400,
        found=f"a form that cannot be read: {reason}",
        expected="multipart/form-data with a boundary, whole",
        fix="let an HTTP library write it, or send one image as the body itself",
    )


def _wrong_json(found: str) -> Refusal:
    return Refusal(
        400,
        found=found,
        expected='{"instances": [{"b64": "..."}]}',
        fix='send each image as {"b64": base64 of its file}',
    )


def _wrong_count(count: int, most: int) -> Refusal:
    return Refusal(
        422,
        found=f"{count} images in one request",
        expected=f"1 to {most}, each with a file name" if most > 1 else "one, with a file name",
        fix="send them in several requests" if count else "send the image as a file of the form, or as the body itself",
    )
