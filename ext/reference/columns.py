"""Columns of a scan as runs, in numpy: what the compiled kernel must do, element by element."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_TAGS = 2_048
KNOWN_BITS, NO_VALUE, NOT_FINITE = 0xDFFF, 0x041D, 0x8004
BAD, SEVERITY = 0x8000, 0xC000
ID_RUN, QUALITY_RUN, TIME_RUN = (np.dtype([("first", one), ("n", "<u2")]) for one in ("<u4", "<u2", "<i8"))
RUNS = {"i": ID_RUN, "q": QUALITY_RUN, "t": TIME_RUN}

Columns = tuple[npt.NDArray[np.uint32], npt.NDArray[np.float64], npt.NDArray[np.uint16], npt.NDArray[np.int64]]


def pack(content: dict[str, Any]) -> bytes:
    """A map of numbers and bytes, each with a length of sixteen bits whatever it is."""
    packed = [bytes([0x80 | len(content)])]
    for key, one in content.items():
        number, form = (one, 0xCD) if isinstance(one, int) else (len(one), 0xC5)
        packed += [bytes([0xA0 | len(key)]), key.encode(), struct.pack(">BH", form, number)]
        packed += [] if isinstance(one, int) else [one]
    return b"".join(packed)


def unpack(frame: bytes) -> dict[str, Any]:
    """The five columns of a frame, as :func:`pack` writes them.

    Raises:
        ValueError: it is no such frame.
    """
    content: dict[str, Any] = {}
    left = frame.removeprefix(b"\x85")
    for key in ("n", *RUNS, "v"):
        form = 0xCD if key == "n" else 0xC5
        number = int.from_bytes(left[3:5], "big")
        if len(left) < 5 or left[:3] != bytes([0xA1, ord(key), form]) or (form == 0xC5 and len(left) < 5 + number):
            raise ValueError(f"column {key!r} is missing or cut off")
        content[key], left = (number, left[5:]) if key == "n" else (left[5 : 5 + number], left[5 + number :])
    if left or frame[:1] != b"\x85":
        raise ValueError("not a map of five columns and nothing else")
    return content


def believed(values: npt.NDArray[np.float64], quality: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Qualities that can be believed, (k,).

    Raises:
        ValueError: a quality that does not exist.
    """
    if np.any(quality & np.uint16(0xFFFF & ~KNOWN_BITS)):
        raise ValueError("a quality has unknown bits")
    severity = quality & np.uint16(SEVERITY)
    if np.any(severity == SEVERITY):
        raise ValueError("a quality is uncertain and bad at once")
    sound = quality.copy()
    sound[(severity == 0) & (quality & NO_VALUE != 0)] |= np.uint16(BAD)
    broken = ~np.isfinite(values) & (severity != BAD)
    sound[broken] = (sound[broken] & ~np.uint16(SEVERITY)) | np.uint16(NOT_FINITE)
    return sound


def encode(
    ids: npt.NDArray[np.integer[Any]],
    values: npt.NDArray[np.float64],
    quality: npt.NDArray[np.uint16],
    source_utc_ns: npt.NDArray[np.integer[Any]],
) -> bytes:
    """As :func:`gwanje.ext.columns.encode`."""
    k = len(ids)
    if not k == len(values) == len(quality) == len(source_utc_ns):
        raise ValueError("columns of different length")
    if k > MAX_TAGS:
        raise ValueError(f"{k} tags in one frame")
    numbers = [int(one) for one in ids]
    if any(one < 0 or one >> 32 for one in numbers) or any(a >= b for a, b in itertools.pairwise(numbers)):
        raise ValueError("tag ids are not ascending inside the table")
    sound = believed(values, quality)
    if np.any(source_utc_ns < 0):
        raise ValueError("a source time lies before 1970")
    times = [int(one) for one in source_utc_ns]
    return pack({
        "n": k,
        "i": _runs(numbers, ID_RUN, lambda first, n: first + n),
        "q": _runs([int(one) for one in sound], QUALITY_RUN, lambda first, _n: first),
        "t": _runs(times, TIME_RUN, lambda first, _n: first),
        "v": values.astype("<f8").tobytes(),
    })  # fmt: skip


def _runs(column: list[int], dtype: np.dtype[Any], expected: Callable[[int, int], int]) -> bytes:
    """Runs of a column; ``expected(first, n)`` goes on with a run of n elements."""
    runs: list[tuple[int, int]] = []
    for one in column:
        if runs and expected(*runs[-1]) == one:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((one, 1))
    return np.array(runs, dtype).tobytes()


def decode(frame: bytes, n_tags: int) -> Columns:
    """As :func:`gwanje.ext.columns.decode`."""
    content = unpack(frame)
    count = content["n"]
    if count > MAX_TAGS:
        raise ValueError("more tags than there may be")
    firsts = {}
    for key, dtype in RUNS.items():
        if len(content[key]) % dtype.itemsize:
            raise ValueError("no whole runs")
        runs = np.frombuffer(content[key], dtype)
        if np.any(runs["n"] == 0) or int(runs["n"].sum(dtype=np.int64)) != count:
            raise ValueError("runs do not add up")
        firsts[key] = np.repeat(runs["first"], runs["n"])
        if key == "i":
            place = np.arange(count) - np.repeat(np.cumsum(runs["n"], dtype=np.int64) - runs["n"], runs["n"])
            ids = firsts["i"].astype(np.int64) + place
    if len(content["v"]) != 8 * count:
        raise ValueError("not as many values")
    if np.any(ids >= n_tags) or np.any(np.diff(ids) <= 0):
        raise ValueError("ids are not ascending inside the table")
    if np.any(firsts["t"] < 0):
        raise ValueError("a source time lies before 1970")
    values = np.frombuffer(content["v"], "<f8").copy()
    return ids.astype(np.uint32), values, believed(values, firsts["q"]), firsts["t"]
