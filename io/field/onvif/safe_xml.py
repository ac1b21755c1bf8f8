"""XML from a network: no document types, no entities, and bounds on size, depth and number of elements. Pure.

Python's own parser would expand entities (a kilobyte into gigabytes); expat is asked directly here, so that the first
sign of a document type ends the parse.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import NoReturn
from xml.parsers import expat

BYTES_MAX = 1_048_576
"""A hundred profiles with all their configurations take 300 kB."""
DEPTH_MAX = 48
"""ONVIF's deepest answers nest about fifteen."""
ELEMENTS_MAX = 20_000


class XmlError(ValueError):
    """This is not XML that anybody should read; one line."""


def parse(data: bytes) -> ET.Element:
    """The root element; names as ``{namespace}name``.

    Raises:
        XmlError: malformed, too large, or with a document type.
    """
    if len(data) > BYTES_MAX:
        raise XmlError(f"more than {BYTES_MAX} bytes of XML")
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate("UTF-8", "}")  # whatever it declares: ONVIF is UTF-8
    parser.buffer_text = True
    depth = elements = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth += 1
        elements += 1
        if depth > DEPTH_MAX or elements > ELEMENTS_MAX:
            raise XmlError("XML that is too deep or has too many elements")
        builder.start(_named(name), {_named(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_named(name))

    def refuse(*_: object) -> NoReturn:
        raise XmlError("XML with a document type or entities")

    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise XmlError(f"not XML: {error}") from None
    return builder.close()


def _named(name: str) -> str:
    return "{" + name if "}" in name else name


def text(element: ET.Element | None, path: str = "") -> str:
    """The text of an element below, stripped; empty where there is none."""
    found = element.find(path) if element is not None and path else element
    return (found.text or "").strip() if found is not None else ""


def number(element: ET.Element | None, attribute: str) -> float | None:
    """An attribute as a finite number; ``None`` where there is none."""
    try:
        value = float(element.get(attribute, "") if element is not None else "")
    except ValueError:
        return None
    return value if value - value == 0.0 else None
