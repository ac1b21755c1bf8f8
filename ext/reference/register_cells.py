"""Twin of ``register_cells``: one cell at a time, in the words of the specification."""

from __future__ import annotations

import math
import struct

BAD, UNCERTAIN = 0x8000, 0x4000
OUT_OF_RANGE, DEVICE_FAILURE, NOT_IMPLEMENTED, CONFIG = 2, 4, 16, 512

Row = tuple[int, int, int, bool, int | None, bool, int, int, int, int, float, float, float, float]


def decode(cells: list[Row], good: int, words: list[int]) -> list[tuple[float, int]]:
    """(value, quality) of every cell of one read."""
    return [_cell(cell, good, words) for cell in cells]


def _cell(cell: Row, good: int, words: list[int]) -> tuple[float, int]:
    offset, form, n, swapped, missing, nan_is_missing, mask, shift, scale_at, exponent, scale, add, low, high = cell
    taken = words[offset : offset + n]
    if swapped:
        taken = taken[::-1]
    data = struct.pack(f">{n}H", *taken)
    raw = int.from_bytes(data, "big")
    if raw == missing:
        return math.nan, BAD | NOT_IMPLEMENTED | good & ~UNCERTAIN
    number: float
    if form == 2:
        number = struct.unpack(">f" if n == 2 else ">d", data)[0]
        if nan_is_missing and math.isnan(number):
            return math.nan, BAD | NOT_IMPLEMENTED | good & ~UNCERTAIN
    elif form == 1:
        number = float(int.from_bytes(data, "big", signed=True))
    else:
        number = float((raw & mask) >> shift if mask else raw)
    problem = 0
    if scale_at >= 0:
        exponent = words[scale_at] - 0x10000 if words[scale_at] >= 0x8000 else words[scale_at]
        if words[scale_at] == 0x8000:
            exponent, problem = 0, UNCERTAIN | CONFIG
        elif abs(exponent) > 10:
            return math.nan, BAD | CONFIG | good & ~UNCERTAIN
    value = (number * 10.0 ** max(exponent, 0) / 10.0 ** max(-exponent, 0)) * scale + add
    if not math.isfinite(value):
        return math.nan, BAD | DEVICE_FAILURE | good & ~UNCERTAIN
    if not low <= value <= high:
        problem |= UNCERTAIN | OUT_OF_RANGE
    return value, good | problem
