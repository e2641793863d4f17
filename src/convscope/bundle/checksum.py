"""The seal of a model file: its last bytes are the SHA-256 of all bytes before them, as an entry of its metadata.

A bit that turns over in a weight leaves a file that opens and answers, wrongly, and golden images need not meet it.
The seal finds all such damage when the file is opened. It is no signature: whoever edits a file can seal it anew.
"""

from __future__ import annotations

import hashlib

KEY = "convscope_sha256"
METADATA = 14 << 3 | 2  # the field `metadata_props` of ONNX's ModelProto, a message (fields: onnx.proto3)


def sealed(data: bytes) -> bytes:
    """The bytes of an ONNX file with their seal. To other programs it is one more entry of the file's metadata."""
    return data + _seal_of(data)


def has_seal(data: bytes) -> bool:
    """Whether the bytes of a file end in a seal, which need not be theirs."""
    return KEY.encode() in data[-LENGTH:]


def is_intact(data: bytes) -> bool:
    """Whether the bytes of a file that has a seal are those that were sealed."""
    return data[-LENGTH:] == _seal_of(data[:-LENGTH])


def _seal_of(data: bytes) -> bytes:
    parts = [_text(1, KEY), _text(2, hashlib.sha256(data).hexdigest())]  # `key` and `value` of StringStringEntryProto
    entry = b"".join(parts)
    return bytes([METADATA, len(entry)]) + entry


def _text(field: int, text: str) -> bytes:
    """A text of less than 128 bytes, as protobuf writes one."""
    return bytes([field << 3 | 2, len(text)]) + text.encode()


LENGTH = len(_seal_of(b""))
