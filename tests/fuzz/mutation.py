"""Changing msgpack maps so that they stay msgpack maps: what plain bytes seldom do, and where the mistakes are."""

import math
import random
from typing import Any

import msgpack

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.0, -0.0, 1e308, -1e308, 5e-324,
    math.nan, math.inf, -math.inf, "", " ", "a", "x" * 500, "x" * 5_000, "\x00", "\n", "관제", "../../etc", "*",
    "remote_role",
    b"", b"\x00" * 8, b"\xff" * 100, [], [None], [[]], [1, 2], {}, {"a": 1}, {"": {}}, [[[[[1]]]]],
    {"a": {"b": {"c": 1}}},
)  # fmt: skip
"""Values that a reader forgot."""


def mutated_map(content: dict[str, Any], rng: random.Random, words: tuple[Any, ...], keys: tuple[str, ...]) -> None:
    """Change a map in place, by one to four small steps.

    Args:
        content: what to change.
        rng: of this mutation.
        words: values that make sense somewhere.
        keys: members that mean something somewhere.
    """
    for _ in range(rng.randint(1, 4)):
        step = rng.random()
        if step < 0.15 or not content:
            content[rng.choice(keys)] = rng.choice(words)
        elif step < 0.25:
            content.pop(rng.choice(list(content)))
        else:
            key = rng.choice(list(content))
            content[key] = changed_value(content[key], rng, words)


def changed_value(value: Any, rng: random.Random, words: tuple[Any, ...]) -> Any:
    """A value in place of another: near it, sensible elsewhere, or nasty."""
    step = rng.random()
    if step < 0.3:
        return rng.choice(NASTY)
    if step < 0.6:
        return rng.choice(words)
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + rng.choice((-1, 1, 10**9, -(10**9), 2**32, -(2**40)))
    if isinstance(value, float):
        return rng.choice((value + 1.0, -value, value * 1e9, math.nextafter(value, math.inf)))
    if isinstance(value, bytes) and value:
        return changed_bytes(value, rng)
    if isinstance(value, str) and value:
        return rng.choice((value[:-1], value + "x", value.upper(), value * 3, value[::-1]))
    if isinstance(value, list):
        return [*value, rng.choice(words)] if rng.random() < 0.5 else value[:-1]
    if isinstance(value, dict):
        inner = dict(value)
        mutated_map(inner, rng, words, ("a", "b"))
        return inner
    return rng.choice(NASTY)


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes with one to four changes: flipped, set, cut, inserted, doubled."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out)) if out else 0
        step = rng.random()
        if step < 0.35 and out:
            out[at] ^= 1 << rng.randrange(8)
        elif step < 0.6 and out:
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xC0, 0xC1, 0xFF, rng.randrange(256)))
        elif step < 0.75:
            out[at:at] = rng.randbytes(rng.randint(1, 9))
        elif step < 0.9 and out:
            del out[at : at + rng.randint(1, 9)]
        elif out:
            piece = out[at : at + rng.randint(1, 32)]
            out[at:at] = piece
    return bytes(out)


def as_map(data: bytes) -> dict[str, Any] | None:
    """The msgpack map in bytes, None when there is none."""
    try:
        content = msgpack.unpackb(data, strict_map_key=False, max_array_len=2_000, max_map_len=200)
    except Exception:  # noqa: BLE001 - whatever it is, it is no map to work on
        return None
    return content if isinstance(content, dict) and all(isinstance(key, str) for key in content) else None


def packed(content: Any) -> bytes:
    """Msgpack of something; empty for what has none."""
    try:
        return msgpack.packb(content)
    except (ValueError, TypeError, OverflowError):
        return b""
