"""A site's listening CCTV: ``nodes.toml`` and ``nodes/*.toml``, one by one (``[[node]]``) or as fleets (``[[fleet]]``).

In the texts of a fleet ``{n}`` stands for the number; a key that holds an array gives its values in turn, so that one
fleet has several codecs and backgrounds. A camera's user and password never stand in a site's files: they lie in the
site's security folder, see :mod:`gwanje.core.site.camera_passwords`.

A node of several microphones says so: ``mics = 4`` with ``mic_radius_m`` (on a circle, the first in front, clockwise),
or ``mic_xy_m = [[x, y], …]`` (metres, x to the right, y forward; a ``[[node]]`` only). ``yaw_deg`` is where its front
looks, clockwise from north, ``yaw_sigma_deg`` how well that is known, ``height_m`` how high it hangs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from gwanje.core.site.merged import Merged
from gwanje.core.site.toml_reader import Document, KeyPath, Reader

CODECS = ("auto", "L16", "PCMU", "PCMA", "AAC", "OPUS", "G726")
"""``auto`` takes the best that the camera offers, any other is preferred where the camera offers several."""
TRANSPORTS = ("tcp", "udp")
NODES_MAX = 4_096
"""As many as the ring of sound holds (``core.audio_ring.MAX_NODES``)."""
PLACE_MAX_M = 20_000

NAME_MAX = 32
"""What the ring of sound keeps of a name."""
_WORD = re.compile(r"[a-z0-9_]+")
_KEYS = {
    "name", "area", "label_ko", "label_en", "url", "codec", "transport", "x_m", "y_m", "simulated", "mics",
    "mic_radius_m", "mic_xy_m", "yaw_deg", "yaw_sigma_deg", "height_m",
}  # fmt: skip
MICS_MAX = 8
"""As many as the ring of sound holds of one node (``core.audio_ring.CHANNELS_MAX``)."""
_APART_M_MIN = 0.005
_FLEET_KEYS = {"n", "columns", "dx_m", "dy_m"}


@dataclass(frozen=True, slots=True)
class Node:
    """A listening CCTV node.

    Attributes:
        url: RTSP address of its audio, without user and password.
        codec: of :data:`CODECS`.
        x_m: metres east of the site's origin.
        y_m: metres north.
        simulated: whether the simulated city streams it.
        params: what ``io.sim`` plays there; checked by it.
        transport: how its packets travel: inside the RTSP connection, or as datagrams.
        source: file it stands in, below the site's folder.
        path: key path there; all nodes of a fleet have the fleet's.
        mic_xy_m: of an array, where each microphone is: metres right and forward of its middle; empty for one alone.
        yaw: where the array's front looks, radians clockwise from north.
        yaw_sigma: how well that is known, radians.
        height_m: of the microphones above the street.
    """

    name: str
    area: str
    label_ko: str
    label_en: str
    url: str
    codec: str
    x_m: float
    y_m: float
    simulated: bool
    params: dict[str, Any]
    transport: str = "tcp"
    source: str = "nodes.toml"
    path: KeyPath = ()
    mic_xy_m: tuple[tuple[float, float], ...] = ()
    yaw: float = 0.0
    yaw_sigma: float = math.radians(0.5)
    height_m: float = 4.0

    @property
    def channels(self) -> int:
        """How many microphones it has."""
        return max(1, len(self.mic_xy_m))

    @property
    def prefix(self) -> str:
        """Beginning of the node's own tags."""
        return f"{self.area}.{self.name}"


def read_nodes(document: Merged) -> tuple[tuple[Node, ...], tuple[dict[str, Any], ...]]:
    """All nodes of a site, and the tables of the simulated streets' script."""
    root = document.root()
    nodes: list[Node] = []
    seen: dict[str, str] = {}
    for reader in root.readers("node"):
        _take(_node(reader, _table(reader), *_place(document, reader)), reader, nodes, seen)
    for reader in root.readers("fleet"):
        for node in _fleet(document, reader):
            if not _take(node, reader, nodes, seen):
                break
    if len(nodes) > NODES_MAX:
        document.problem((), f"{len(nodes)} nodes; a site listens to {NODES_MAX} at most")
    for key in document.content:
        if key not in ("node", "fleet", "script"):
            document.problem((key,), "unknown key")
    return tuple(nodes), tuple(_table(reader) for reader in root.readers("script"))


def _take(node: Node, reader: Reader, nodes: list[Node], seen: dict[str, str]) -> bool:
    """Take a node up; whether its name and address are its own."""
    own = True
    for key, value in (("name", node.name), ("url", node.url)):
        if value in seen:
            what = repr(value) if key == "name" or "@" not in value else "the address"
            reader.problem(key, f"{what} is the {seen[value]}'s already")
            own = False
        seen[value] = f"node {node.name!r}"
    nodes.append(node)
    return own


def _table(reader: Reader) -> dict[str, Any]:
    """The table of a reader as it stands."""
    table: dict[str, Any] = reader.document.content[str(reader.path[0])][reader.path[1]]
    return table


def _place(document: Merged, reader: Reader) -> tuple[str, KeyPath]:
    """File below the site's folder, and key path there."""
    key, position = str(reader.path[0]), reader.path[1]
    assert isinstance(position, int), "a table of an array"
    home, index = document.tables[key][position]
    return home.name.partition("/")[2], (key, index)


def _node(reader: Reader, table: dict[str, Any], source: str, path: KeyPath) -> Node:
    simulated = reader.flag("simulated", False)
    node = Node(
        name=reader.text("name"),
        area=reader.text("area"),
        label_ko=reader.text("label_ko"),
        label_en=reader.text("label_en"),
        url=reader.text("url"),
        codec=reader.text("codec", "L16" if simulated else "auto", choices=CODECS),
        x_m=reader.number("x_m", low=-PLACE_MAX_M, high=PLACE_MAX_M),
        y_m=reader.number("y_m", low=-PLACE_MAX_M, high=PLACE_MAX_M),
        simulated=simulated,
        params={key: value for key, value in table.items() if key not in _KEYS},
        transport=reader.text("transport", "tcp", choices=TRANSPORTS),
        source=source,
        path=path,
        mic_xy_m=_microphones(reader),
        yaw=math.radians(reader.number("yaw_deg", 0.0, -360.0, 360.0)),
        yaw_sigma=math.radians(reader.number("yaw_sigma_deg", 0.5, 0.0, 180.0)),
        height_m=reader.number("height_m", 4.0, 0.0, 100.0),
    )
    for key, word in (("name", node.name), ("area", node.area)):
        if word and not (_WORD.fullmatch(word) and len(word) <= NAME_MAX):
            reader.problem(key, f"{word!r} is not a word of up to {NAME_MAX} small letters, digits and _")
    if node.url and (reason := url_problem(node.url)):
        reader.problem("url", reason)
    if not simulated:
        for key in node.params:
            reader.problem(key, "unknown key" if key != "background" else "only simulated nodes have a background")
    return node


def _microphones(reader: Reader) -> tuple[tuple[float, float], ...]:
    """Places of an array's microphones in its own frame; empty for one alone."""
    n = min(reader.integer("mics", 1, 1, MICS_MAX), MICS_MAX)
    radius_m = reader.number("mic_radius_m", 0.1, _APART_M_MIN, 1.0)
    if not reader.has("mic_xy_m"):
        if reader.has("mic_radius_m") and n == 1:
            reader.problem("mic_radius_m", "one microphone alone has none: say how many with mics")
        angle = [2.0 * math.pi * index / n for index in range(n)]
        return tuple((radius_m * math.sin(a), radius_m * math.cos(a)) for a in angle) if n > 1 else ()
    places = reader.sequence("mic_xy_m")
    number = all(
        isinstance(one, list) and len(one) == 2
        and all(isinstance(m, int | float) and not isinstance(m, bool) and abs(m) <= 1.0 for m in one)
        for one in places
    )  # fmt: skip
    if not number or not 2 <= len(places) <= MICS_MAX or reader.has("mic_radius_m"):
        reader.problem("mic_xy_m", f"must be [x, y] of 2 to {MICS_MAX} microphones within 1 m, without mic_radius_m")
        return ()
    if reader.has("mics") and n != len(places):
        reader.problem("mics", f"{n}, but mic_xy_m has {len(places)}")
    found = tuple((float(x), float(y)) for x, y in places)
    pairs = ((one, other) for index, one in enumerate(found) for other in found[:index])
    if any(math.dist(one, other) < _APART_M_MIN for one, other in pairs):
        reader.problem("mic_xy_m", "two microphones at one place")
        return ()
    return found


def url_problem(url: str) -> str:
    """What is wrong with a node's address; empty when nothing is. Never repeats a password."""
    if not url.startswith("rtsp://"):
        return "must begin with rtsp://"
    if any(sign.isspace() or not sign.isprintable() for sign in url):
        return "holds blanks or signs that cannot be printed"
    try:
        parts: SplitResult = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return "is no address"
    if parts.username is not None or parts.password is not None:
        return (
            "user and password do not belong into a site's files: put them into camera-passwords.toml in the site's "
            "security folder"
        )
    return "" if host else "names no host"


def _fleet(document: Merged, reader: Reader) -> Iterator[Node]:
    """The nodes of a ``[[fleet]]``, up to the first that is wrong."""
    table = {key: value for key, value in _table(reader).items() if key not in _FLEET_KEYS}
    source, path = _place(document, reader)
    numbers = reader.sequence("n", required=True)
    columns = reader.integer("columns", 100, 1, 1_000)
    dx_m, dy_m = (reader.number(key, 0.0, -1_000, 1_000) for key in ("dx_m", "dy_m"))
    if len(numbers) != 2 or not all(type(one) is int for one in numbers) or not numbers[0] <= numbers[1]:
        reader.problem("n", "must be [first, last]")
        return
    first, last = numbers
    if last - first >= NODES_MAX:
        reader.problem("n", f"more than {NODES_MAX} nodes")
        return
    if "{n" not in str(table.get("name")):
        reader.problem("name", "must hold {n}")
        return
    for index, n in enumerate(range(first, last + 1)):
        try:
            one = {key: _of_number(value, index, n) for key, value in table.items()}
        except (KeyError, IndexError, ValueError) as error:
            reader.problem("name", f"cannot be expanded: {error}")
            return
        for key, step in (("x_m", index % columns * dx_m), ("y_m", index // columns * dy_m)):
            if isinstance(one.get(key), (int, float)):
                one[key] += step
        probe = Document(document.name, {"fleet": [one]}, {(): 1})
        node = _node(Reader(probe, ("fleet", 0), one), one, source, path)
        if probe.problems:
            for problem in probe.problems:
                reader.problem(problem.key.partition(".")[2] or None, f"of node {n}: {problem.reason}")
            return
        yield node


def _of_number(value: Any, index: int, n: int) -> Any:
    """A value of the node with this number: arrays in turn, ``{n}`` in texts replaced."""
    if isinstance(value, list):
        return _of_number(value[index % len(value)], index, n)
    return value.format(n=n) if isinstance(value, str) else value
