"""The images in the bodies of requests: files in forms, base64 in JSON.

Forms are parsed here, not by Starlette's `MultiPartParser`: that drops a file whose end is missing without an error,
ignores `filename*`, leaves %22 in names, and writes files over 1 MB to disk (tests: `test_truncated_form_is_400`,
`test_file_names_are_decoded`, `test_no_file_is_written`).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from convscope.serving.http_errors import HTTPError, quote

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 1000  # of a form, fields without a file included
ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n"}  # the HTML standard has browsers escape exactly these in file names
ENCODED_NAME = re.compile(rb"filename\*\s*=\s*utf-8'[^']*'([\w.%!#$&+^`|~-]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a request: its name, which the response repeats and nothing else uses, and its bytes."""

    name: str
    data: bytes


def is_form(request: Request) -> bool:
    """Whether the content type of a request is multipart."""
    return request.headers.get("content-type", "").lower().lstrip().startswith("multipart/")


def parse_uploads(request: Request, body: bytes, *, max_images: int) -> list[Upload]:
    """The files of a body: those in a form, else the body. Does no I/O: can run in a thread.

    Raises:
        HTTPError: 400 an invalid form, 422 no file or too many.
    """
    if not is_form(request):
        return [Upload("", body)]
    files = _parse_form(request.headers["content-type"], body)
    if not 1 <= len(files) <= max_images:
        raise _wrong_count(len(files), max_images)
    return files


def parse_instances(body: bytes, *, max_images: int) -> list[bytes]:
    """The images of a predict request of TensorFlow Serving, in row format. Does no I/O: can run in a thread.

    Raises:
        HTTPError: 400 an invalid body, 422 too many images.
    """
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _invalid_json(f"invalid JSON: {quote(str(error))}") from None
    instances = parsed.get("instances") if isinstance(parsed, dict) else None
    if not isinstance(instances, list) or not instances:
        raise _invalid_json('no list "instances"')
    if len(instances) > max_images:
        raise _wrong_count(len(instances), max_images)
    return [_decode_instance(instance, index) for index, instance in enumerate(instances)]


def _decode_instance(instance: Any, index: int) -> bytes:
    """The bytes of `{"b64": TEXT}`, or of the same as the only input of a signature, whatever its name."""
    if isinstance(instance, dict) and len(instance) == 1 and "b64" not in instance:
        instance = next(iter(instance.values()))
    text = instance.get("b64") if isinstance(instance, dict) else None
    if not isinstance(text, str):
        raise _invalid_json(f'instances[{index}] without "b64"')
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid_json(f"instances[{index}] with invalid base64") from None


@dataclass(slots=True)
class _Part:
    """A part of a form while it is parsed."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    content: list[bytes] = field(default_factory=list)

    def end_header(self) -> None:
        self.headers[bytes(self.header_name).lower()] = bytes(self.header_value)
        self.header_name, self.header_value = bytearray(), bytearray()


def _parse_form(content_type: str, body: bytes) -> list[Upload]:
    """The files of a form: its parts with a file name."""
    parts: list[_Part] = []
    is_complete = False

    def begin_part() -> None:
        if len(parts) == MAX_PARTS:
            raise _invalid_form(f"over {MAX_PARTS} parts")
        parts.append(_Part())

    def end() -> None:
        nonlocal is_complete
        is_complete = True

    callbacks: MultipartCallbacks = {
        "on_part_begin": begin_part,
        "on_header_field": lambda data, start, end: parts[-1].header_name.extend(data[start:end]),
        "on_header_value": lambda data, start, end: parts[-1].header_value.extend(data[start:end]),
        "on_header_end": lambda: parts[-1].end_header(),
        "on_part_data": lambda data, start, end: parts[-1].content.append(data[start:end]),
        "on_end": end,
    }
    _, options = parse_options_header(content_type)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), callbacks)
        parser.write(body)
        parser.finalize()  # accepts a truncated form
    except FormParserError as error:
        raise _invalid_form(quote(str(error))) from None
    if not is_complete:
        raise _invalid_form("its end is missing")
    files = []
    for part in parts:
        name = _file_name(part.headers.get(b"content-disposition", b""))
        if name is not None:
            files.append(Upload(quote(name), b"".join(part.content)))
    return files


def _file_name(disposition: bytes) -> str | None:
    """The file name in a content disposition, decoded; None: there is none."""
    _, options = parse_options_header(disposition)
    if b"filename" in options:
        name = options[b"filename"].decode("utf-8", "replace")
        for escape, character in ESCAPES.items():
            name = name.replace(escape, character)
        return name
    encoded = ENCODED_NAME.search(disposition)  # RFC 5987, which forms must not use, but some clients do
    return None if encoded is None else unquote(encoded[1].decode("ascii"))


def _invalid_form(reason: str) -> HTTPError:
    return HTTPError(
        400,
        found=f"an invalid form: {reason}",
        expected="complete multipart/form-data with a boundary",
        fix="send it with an HTTP library, or send one image as the body",
    )


def _invalid_json(found: str) -> HTTPError:
    return HTTPError(
        400,
        found=found,
        expected='{"instances": [{"b64": "..."}]}',
        fix='send each image as {"b64": base64 of its file}',
    )


def _wrong_count(count: int, max_images: int) -> HTTPError:
    return HTTPError(
        422,
        found=f"{count} images in one request",
        expected=f"1 to {max_images}, each with a file name" if max_images > 1 else "one, with a file name",
        fix="send them in several requests" if count else "send the image as a file of the form, or as the body",
    )
