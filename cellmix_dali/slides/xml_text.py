"""XML in the tags of slide files: read with care, since what it says comes from outside."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

__all__ = ["name_of", "read_xml", "within"]

_MOST_TEXT = 1 << 26


def read_xml(text: str) -> ElementTree.Element | None:
    """Read XML.

    Parameters
    ----------
    text : str
        Whatever a tag holds.

    Returns
    -------
    Element or None
        Its root; None if it is not XML, or far too long, or has a document type: that may define entities that blow up,
        and no slide format has one.
    """
    text = text.strip().strip("\0")
    if not text.startswith("<") or len(text) > _MOST_TEXT or "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):
        return None


def name_of(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace, which differs from year to year."""
    return element.tag.rpartition("}")[2]


def within(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Yield the elements of a name, itself and all below it."""
    return (found for found in element.iter() if name_of(found) == name)
