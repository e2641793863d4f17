"""The worker process of `decoding`: paths in, hashes and pixels out."""

from __future__ import annotations

from collections.abc import Iterator

from convscope.images.decoder_pool import InputSpec, decode_file
from convscope.worker_process import Message, Reply


def serve_parent(requests: Iterator[Message], reply: Reply) -> None:
    """Decode the files of each request; the reply has their hashes and reasons, and the pixels of those without one."""
    for request, _ in requests:
        spec = InputSpec(request["size"], request["fit"], request["channels"])
        files = [decode_file(path, spec) for path in request["paths"]]
        pixels = b"".join(file.image.data for file in files if file.image is not None)
        reply({"files": [(file.sha256, file.reason) for file in files]}, pixels)
