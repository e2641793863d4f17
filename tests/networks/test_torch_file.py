"""networks/torch_file.py: it reads the tensors that are there, and nothing else can be had of it but a ValueError."""

from __future__ import annotations

import hashlib
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convscope.networks.torch_file import MAGIC, PROTOCOL, parse_torch_file, read_torch_file

ONE = np.arange(12, dtype="<f4")
FEW_BYTES = 10_000_000  # that reading a file of some hundred bytes may take


def name(module: str, word: str) -> bytes:
    """The opcode that asks for `module.word`."""
    return f"c{module}\n{word}\n".encode()


def text(words: str) -> bytes:
    """The opcode of a text."""
    data = words.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def whole(number: int) -> bytes:
    """The opcode of a whole number, however large."""
    data = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def together(*parts: bytes) -> bytes:
    """The opcodes of a tuple."""
    return b"(" + b"".join(parts) + b"t"


def storage(key: str, kind: str = "FloatStorage", view: bytes = b"N") -> bytes:
    """The opcodes that name a storage as PyTorch does."""
    return together(text("storage"), name("torch", kind), text(key), text("cpu"), whole(12), view) + b"Q"


def tensor(place: bytes, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """The opcodes of a tensor in a storage."""
    hooks = name("collections", "OrderedDict") + b")R"
    words = (place, whole(offset), together(*map(whole, shape)), together(*map(whole, strides)), b"\x89", hooks)
    return name("torch._utils", "_rebuild_tensor_v2") + together(*words) + b"R"


def dictionary(values: dict[str, bytes]) -> bytes:
    """The opcodes of an ordered dictionary."""
    return name("collections", "OrderedDict") + b")R(" + b"".join(text(k) + v for k, v in values.items()) + b"u"


def make_file(
    values: dict[str, bytes] | bytes,
    numbers: dict[str, np.ndarray] | None = None,
    *,
    magic: int = MAGIC,
    little_endian: bool = True,
    counts: dict[str, int] | None = None,
) -> bytes:
    """A file as PyTorch's old format has it."""
    numbers = {"a": ONE} if numbers is None else numbers
    opcodes = values if isinstance(values, bytes) else dictionary(values)
    system = {"protocol_version": PROTOCOL, "little_endian": little_endian, "type_sizes": {"int": 4}}
    parts = [pickle.dumps(each, 2) for each in (magic, PROTOCOL, system)]
    parts += [b"\x80\x02" + opcodes + b".", pickle.dumps(list(numbers), 2)]
    for key, array in numbers.items():
        parts += [struct.pack("<Q", (counts or {}).get(key, len(array))), array.tobytes()]
    return b"".join(parts)


def test_tensors_are_read() -> None:
    """Whatever their order in a storage, shared, single or empty: as PyTorch would show them, and read-only."""
    values = {
        "plain": tensor(storage("a"), 0, (3, 4), (4, 1)),
        "transposed": tensor(storage("a"), 0, (4, 3), (1, 4)),
        "part": tensor(storage("a"), 5, (2, 2), (4, 1)),
        "single": tensor(storage("a"), 11, (), ()),
        "empty": tensor(storage("a"), 0, (0, 4), (4, 1)),
        "count": tensor(storage("b", "LongStorage"), 0, (1,), (1,)),
    }
    found = parse_torch_file(make_file(values, {"a": ONE, "b": np.array([-7], "<i8")}))
    assert list(found) == list(values)
    grid = ONE.reshape(3, 4)
    expected = {"plain": grid, "transposed": grid.T, "part": ONE[[[5, 6], [9, 10]]], "single": ONE[11]}
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)
    assert found["empty"].shape == (0, 4)
    assert (found["count"].dtype, found["count"].tolist()) == (np.dtype("i8"), [-7])
    with pytest.raises(ValueError, match="read-only"):
        found["plain"][0, 0] = 1


def test_it_reads_what_pytorch_writes(tmp_path: Path) -> None:
    """Where PyTorch is installed: a dictionary of its tensors comes back number by number."""
    torch = pytest.importorskip("torch", reason="needs the extra `bench`")
    written = {"a": torch.randn(3, 4, 2).transpose(0, 2), "b": torch.arange(5), "c": torch.tensor(2.5)}
    torch.save(written, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found = parse_torch_file((tmp_path / "old.pth").read_bytes())
    assert found.keys() == written.keys()
    for key, each in written.items():
        np.testing.assert_array_equal(found[key], each.numpy())
    torch.save(written, tmp_path / "new.pth")
    with pytest.raises(ValueError, match="PyTorch's old format"):
        parse_torch_file((tmp_path / "new.pth").read_bytes())


@pytest.mark.parametrize(
    ("module", "word"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("__builtin__", "exec"),
        ("subprocess", "Popen"),
        ("numpy", "dtype"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch", "HalfStorage"),
        ("collections", "OrderedDict.__init__"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, module: str, word: str) -> None:
    """Nothing but tensors and their dictionary is looked up, let alone called, wherever in the file it stands."""
    mark = tmp_path / "mark"
    call = name(module, word) + together(text(f"touch {mark}")) + b"R"
    for opcodes in (call, dictionary({"a": call}), name(module, word)):
        with pytest.raises(ValueError, match="which no weights need"):
            parse_torch_file(make_file(opcodes))
    with pytest.raises(ValueError, match="which no weights need"):
        parse_torch_file(b"\x80\x02" + call + b".")
    stacked = text(module) + text(word) + b"\x93"  # STACK_GLOBAL
    with pytest.raises(ValueError, match="which no weights need"):
        parse_torch_file(make_file(stacked + together(text(f"touch {mark}")) + b"R"))
    assert not mark.exists()


@pytest.mark.parametrize(
    "asked",
    [
        together(text("module"), name("torch", "FloatStorage"), text("a"), text("cpu"), whole(12), b"N"),
        together(text("storage"), text("FloatStorage"), text("a"), text("cpu"), whole(12), b"N"),
        together(text("storage"), name("torch", "FloatStorage"), text("a"), text("cpu"), whole(12), whole(1)),
        together(text("storage"), name("torch", "FloatStorage"), text("a")),
        text("storage"),
        whole(7),
    ],
    ids=["another kind", "no type", "a view", "short", "a text", "a number"],
)
def test_other_persistent_names_are_refused(asked: bytes) -> None:
    """A storage is named by its type and key; modules, views of others and what else there may be are not."""
    with pytest.raises(ValueError, match=r"."):
        parse_torch_file(make_file({"a": tensor(asked + b"Q", 0, (12,), (1,))}))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (13,), (1,)),
        (1, (12,), (1,)),
        (12, (), ()),
        (0, (3, 4), (5, 1)),
        (-1, (3,), (1,)),
        (11, (12,), (-1,)),
        (0, (-3,), (1,)),
        (0, (3, 4), (4,)),
        (2**62, (2,), (1,)),
        (0, (2,), (2**62,)),
        (0, (2**62,), (2**62,)),
        (0, (2**40,), (0,)),
        (0, (2**32, 2**32), (0, 0)),
        (0, (1,) * 80, (1,) * 80),
    ],
)
def test_tensors_stay_in_their_numbers(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """Beyond the end, before the beginning, or more of them than there are: refused, not looked at."""
    with pytest.raises(ValueError, match=r"."):
        parse_torch_file(make_file({"a": tensor(storage("a"), offset, shape, strides)}))


@pytest.mark.parametrize("state", [(-4, (2,), (1,)), (0.5, (2,), (1,)), (float("nan"), (2,), (float("nan"),))])
def test_what_was_checked_cannot_be_changed(state: tuple[object, ...]) -> None:
    """A pickle may set the fields of what it made: numbers that were none any more are refused all the same."""
    offset, shape, strides = state
    fields = pickle.dumps(["a", np.dtype("<f4").str, offset, shape, strides], 0)[:-1]
    with pytest.raises(ValueError, match=r"."):
        parse_torch_file(make_file({"a": tensor(storage("a"), 0, (2,), (1,)) + fields + b"b"}))


def test_a_file_that_ends_early_is_refused() -> None:
    """Wherever it was cut."""
    whole_file = make_file({"a": tensor(storage("a"), 0, (3, 4), (4, 1))})
    parse_torch_file(whole_file)
    for length in range(len(whole_file)):
        with pytest.raises(ValueError, match=r"."):
            parse_torch_file(whole_file[:length])


@pytest.mark.parametrize(
    "data",
    [
        make_file({}, magic=MAGIC + 1),
        make_file({}, little_endian=False),
        make_file(b"]", {}),
        make_file(whole(3), {}),
        make_file({"a": whole(3)}),
        make_file({"a": tensor(storage("b"), 0, (1,), (1,))}),
        pickle.dumps(MAGIC, 2) * 5,
        b"PK\x03\x04" + bytes(100),
        b"\x89HDF\r\n\x1a\n",
        b"",
    ],
    ids=[
        "magic",
        "big-endian",
        "a list",
        "a number",
        "no tensor",
        "no storage",
        "magic five times",
        "zip",
        "HDF5",
        "empty",
    ],
)
def test_other_files_are_refused(data: bytes) -> None:
    """PyTorch's new format is a zip file; numbers of another byte order, and what is no weights, are none either."""
    with pytest.raises(ValueError, match=r"."):
        parse_torch_file(data)


@pytest.mark.parametrize(
    "data",
    [
        make_file({"a": tensor(storage("a"), 0, (12,), (1,))}, counts={"a": 2**40}),
        make_file({"a": tensor(storage("a"), 0, (12,), (1,))}, counts={"a": 2**64 - 1}),
        make_file(b"Nr" + struct.pack("<I", 2**28)),  # a value to be remembered under a huge number
        make_file(b"\x8e" + struct.pack("<Q", 2**45)),  # bytes
        make_file(b"\x8d" + struct.pack("<Q", 2**45)),  # a text
        make_file(b"\x95" + struct.pack("<Q", 2**45)),  # a frame
        make_file(b"\x8b" + struct.pack("<i", 2**31 - 1)),  # a whole number
    ],
    ids=["count", "largest count", "memory", "bytes", "text", "frame", "number"],
)
def test_what_a_file_says_of_lengths_takes_no_memory(data: bytes) -> None:
    """A few bytes that announce gigabytes are refused for what they are."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"."):
            parse_torch_file(data)
        assert tracemalloc.get_traced_memory()[1] < FEW_BYTES
    finally:
        tracemalloc.stop()


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    """In place of a file, and in place of its tensors: a ValueError, and nothing else."""
    for each in (data, make_file(data), make_file({"a": data})):
        try:
            parse_torch_file(each)
        except ValueError:
            continue
        assert each != data


@settings(max_examples=300)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_one_damaged_byte_is_no_more_than_an_error(place: int, change: int) -> None:
    """A file with one byte changed is read, or refused with a ValueError."""
    data = bytearray(
        make_file({"a": tensor(storage("a"), 0, (3, 4), (4, 1)), "b": tensor(storage("a"), 3, (2,), (1,))})
    )
    data[place % len(data)] ^= change
    try:
        found = parse_torch_file(bytes(data))
    except ValueError:
        return
    assert all(array.size <= 12 for array in found.values())


def test_the_content_is_the_one_that_is_known(tmp_path: Path) -> None:
    """By its SHA-256, before anything is read from it; a file that is not there is the system's error."""
    file = tmp_path / "weights.pth"
    data = make_file({"a": tensor(storage("a"), 0, (12,), (1,))})
    file.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    assert read_torch_file(file, sha256=digest)["a"].tolist() == ONE.tolist()
    file.write_bytes(make_file(name("os", "system")))
    with pytest.raises(ValueError, match=rf"its SHA-256 is [0-9a-f]{{64}}, not {digest}"):
        read_torch_file(file, sha256=digest)
    with pytest.raises(OSError, match=r"gone\.pth"):
        read_torch_file(tmp_path / "gone.pth", sha256=digest)
