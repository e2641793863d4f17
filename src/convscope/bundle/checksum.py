"""The checksum of a model file: its last bytes are the SHA-256 of all bytes before them, as an entry of its metadata.

A flipped bit in a weight leaves a file that opens and predicts, wrongly, and golden images need not reveal it. The
checksum detects all such damage when the file is opened. It is no signature: whoever edits a file can write a new one.
"""

from __future__ import annotations

import hashlib

KEY = "convscope_sha256"
METADATA_TAG = 14 << 3 | 2  # the field `metadata_props` of ONNX's ModelProto, a message (fields: onnx.proto3)


def with_checksum(data: bytes) -> bytes:
    """The bytes of an ONNX file, followed by their checksum: to other programs one more entry of its metadata."""
    return data + _checksum_entry(data)


def has_checksum(data: bytes) -> bool:
    """Whether the bytes of a file end in a checksum, right or wrong."""
    return KEY.encode() in data[-LENGTH:]


def is_intact(data: bytes) -> bool:
    """Whether the checksum at the end of a file is that of the bytes before it."""
    return data[-LENGTH:] == _checksum_entry(data[:-LENGTH])


def _checksum_entry(data: bytes) -> bytes:
    """A StringStringEntryProto (fields `key` and `value`) within `metadata_props`, in protobuf's encoding."""
    entry = _encode_string(1, KEY) + _encode_string(2, hashlib.sha256(data).hexdigest())
    return bytes([METADATA_TAG, len(entry)]) + entry


def _encode_string(field: int, text: str) -> bytes:
    """A string of less than 128 bytes, as protobuf encodes one."""
    return bytes([field << 3 | 2, len(text)]) + text.encode()


LENGTH = len(_checksum_entry(b""))
