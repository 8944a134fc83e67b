"""The safetensors format: named arrays and named texts in one file, nothing that could run.

Eight bytes of length, a JSON header with the dtype, shape and place of each array, the raw data.
https://huggingface.co/docs/safetensors describes it; the package of that name reads these files.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from shoal.types import Array

#: Names of dtypes in the header; data is little-endian.
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
METADATA = "__metadata__"
#: The header's length in bytes comes first, and is followed by data that begins at a multiple of 8.
LENGTH = 8
#: What begins with a longer one is a file of another kind.
LARGEST_HEADER = 2**40


class FormatError(ValueError):
    """These bytes are not a whole file of this format."""


def pack(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> list[Any]:
    """Return the parts of a file, in order: bytes and buffers."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {METADATA: dict(metadata)}
    data, end = [], 0
    for name, array in arrays.items():
        stored = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        start, end = end, end + stored.nbytes
        header[name] = {
            "dtype": names[stored.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
        data.append(stored.reshape(-1).view(np.uint8).data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH)
    return [len(text).to_bytes(LENGTH, "little") + text, *data]


def unpack(file: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    """Return arrays (read-only, in place) and texts; raises FormatError unless all is as it must.

    Every array must be of a known dtype and lie inside the file, where its shape says; all of them
    together must fill it without a gap.
    """
    if len(file) < LENGTH:
        raise FormatError(f"it has {len(file)} bytes")
    start = LENGTH + int.from_bytes(file[:LENGTH], "little")
    if start > LARGEST_HEADER:
        raise FormatError("it does not begin as files of safetensors do")
    if start > len(file):
        raise FormatError(f"it has {len(file)} bytes, its header alone should reach {start}")
    try:
        header = json.loads(file[LENGTH:start].decode())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"its header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise FormatError("its header is not a dictionary")
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError(f"{METADATA} is not a dictionary of texts")
    arrays, places = {}, []
    for name, entry in header.items():
        dtype, shape, (first, last) = _entry(name, entry)
        places.append((first, last))
        if start + last > len(file):
            raise FormatError(f"it has {len(file)} bytes, {name} should reach {start + last}")
        flat = np.frombuffer(file, np.uint8, last - first, start + first)
        try:
            arrays[name] = _aligned(flat).view(dtype).reshape(shape)
        except ValueError:  # more dimensions, or longer ones, than an array can have
            raise FormatError(f"{name} has shape {shape}") from None
    reached = 0
    for first, last in sorted(places):
        if first != reached:
            raise FormatError(f"its arrays leave a gap or overlap at {first}")
        reached = last
    if start + reached != len(file):
        raise FormatError(f"it has {len(file)} bytes, its arrays end at {start + reached}")
    return arrays, metadata


def _entry(name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], tuple[int, int]]:
    """What the header says of one array."""
    try:
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        first, last = entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise FormatError(f"its header says of {name}: {entry!r:.80}") from None
    numbers = [*shape, first, last]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise FormatError(f"its header says of {name}: {entry!r:.80}")
    size = dtype.itemsize
    for length in shape:
        size *= length
    if last - first != size:
        raise FormatError(f"{name} has {last - first} bytes, its shape {shape} needs {size}")
    return dtype, shape, (first, last)


def _aligned(flat: Array) -> Array:
    """The same bytes, where numbers of eight bytes can be read."""
    if flat.ctypes.data % LENGTH == 0:
        return flat
    copied = flat.copy()
    copied.setflags(write=False)
    return copied


def checksum(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    """CRC-32 of names, shapes, dtypes, values and texts, wherever they lie in a file."""
    shapes = [[name, arrays[name].dtype.str[1:], arrays[name].shape] for name in sorted(arrays)]
    text = json.dumps([shapes, sorted(metadata.items())])
    value = zlib.crc32(text.encode())
    for name in sorted(arrays):
        little = np.ascontiguousarray(arrays[name], arrays[name].dtype.newbyteorder("<"))
        value = zlib.crc32(little.reshape(-1).view(np.uint8).data, value)
    return f"{value:08x}"
