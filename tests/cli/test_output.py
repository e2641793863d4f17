"""cli/output.py: an error of standard output is distinguished from those of other files; closed outputs are quiet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment

BEGIN = "import sys, errno\nfrom convscope.cli.output import OutputError, marked_output_errors\n"
WRITE = """
try:
    with marked_output_errors():
        {write}
        sys.stdout.flush()
except OutputError as error:
    sys.exit(errno.errorcode[error.error.errno])
"""
WRITES = ["print('x')", "print('x' * 1_000_000)", "sys.stdout.writelines(['line\\n'] * 100_000)"]


def run(code: str, **streams: object) -> subprocess.CompletedProcess[str]:
    """Run Python in a new process."""
    program = [sys.executable, "-c", BEGIN + code]
    return subprocess.run(program, stderr=subprocess.PIPE, text=True, env=environment(), **streams)  # type: ignore[call-overload, no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_full_disk_is_an_output_error(write: str) -> None:
    """However much is written at once; nothing is left for Python to complain about at its end."""
    with open("/dev/full", "w") as full:
        result = run(WRITE.format(write=write), stdout=full)
    assert (result.returncode, result.stderr) == (1, "ENOSPC\n")


@pytest.mark.slow
@pytest.mark.parametrize("write", WRITES)
def test_closed_pipe_is_an_output_error(write: str) -> None:
    """As in `convscope ... | head`."""
    reader, writer = os.pipe()
    os.close(reader)
    result = run(WRITE.format(write=write), stdout=writer)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "EPIPE\n")


def test_other_files_keep_their_errors() -> None:
    """A full disk elsewhere stays an OSError."""
    result = run(
        "with marked_output_errors():\n    open('/dev/full', 'w').write('x' * 100_000)", stdout=subprocess.PIPE
    )
    assert "OSError: [Errno 28] No space left on device" in result.stderr


def test_output_that_was_closed_before_is_dropped() -> None:
    """`convscope ... >&-` has nothing to write to, and runs."""
    code = "sys.stdout = None\nwith marked_output_errors():\n    print('x')\n    sys.stdout.flush()"
    assert run(code, stdout=subprocess.PIPE).returncode == 0


def test_all_else_of_the_stream_is_as_before() -> None:
    """Its encoding and whether it is a terminal, and the order of what is written."""
    code = """
before = sys.stdout
with marked_output_errors():
    assert (sys.stdout.encoding, sys.stdout.isatty()) == (before.encoding, False)
    print("one")
    sys.stdout.writelines(["two\\n", "three\\n"])
assert sys.stdout is before
"""
    assert run(code, stdout=subprocess.PIPE).stdout == "one\ntwo\nthree\n"
