"""Reading msgpack maps that somebody else wrote: bounded in length, containers and depth; anything odd is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack


class FrameError(ValueError):
    """A frame that is not what it says it is."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a map may hold.

    Attributes:
        n_bytes: of the whole frame; looked at before anything is unpacked.
        containers: maps and lists together. A forged frame of empty maps takes sixty times its length in memory.
        depth: of maps and lists in each other; code that walks them may recurse.
    """

    n_bytes: int
    containers: int
    depth: int


MAX_ITEMS = 10_000
"""Items of one list."""
MAX_KEYS = 1_000
"""Members of one map."""


class _Hooks:
    """Called by the unpacker for each container that is complete."""

    __slots__ = ("left",)

    def __init__(self, containers: int) -> None:
        self.left = containers

    def one_more(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise FrameError("too many maps and lists")

    def pairs(self, pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        self.one_more()
        content = dict(pairs)
        if len(content) != len(pairs):
            raise FrameError("a key stands twice in a map")
        for key in content:
            if type(key) is not str:
                raise FrameError("a key is not text")
        return content

    def items(self, items: list[Any]) -> list[Any]:
        self.one_more()
        return items


def _no_extension(code: int, _body: bytes) -> Any:
    raise FrameError(f"extension type {code}")


def unpack_map(frame: bytes, limits: Limits) -> dict[str, Any]:
    """A msgpack map with text keys, of None, truth values, numbers, texts, bytes, lists and such maps.

    Raises:
        FrameError: too long, not msgpack, a key twice, an extension type, too many or too deep containers, or no map.
    """
    if len(frame) > limits.n_bytes:
        raise FrameError(f"frame of {len(frame)} bytes, at most {limits.n_bytes} are taken")
    hooks = _Hooks(limits.containers)
    try:
        content = msgpack.unpackb(
            frame, raw=False, strict_map_key=True, object_pairs_hook=hooks.pairs, list_hook=hooks.items,
            ext_hook=_no_extension, max_array_len=MAX_ITEMS, max_map_len=MAX_KEYS, max_ext_len=0,
        )  # fmt: skip
    except FrameError:
        raise
    except (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise FrameError(f"not a msgpack map: {error}") from None
    if not isinstance(content, dict):
        raise FrameError("not a map with text keys")
    if hooks.left < limits.containers - 1:
        _check_depth(content, limits.depth)
    return content


def _check_depth(content: Any, depth: int) -> None:
    level = [content]
    while level:
        if depth == 0:
            raise FrameError("maps and lists are nested too deep")
        depth -= 1
        inner = []
        for one in level:
            for child in one.values() if type(one) is dict else one:
                if type(child) is dict or type(child) is list:
                    inner.append(child)
        level = inner
