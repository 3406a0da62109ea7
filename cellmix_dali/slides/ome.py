"""What the OME-XML of an OME-TIFF says of its first picture: microns per pixel and channels.

Source: the OME data model, 2016-06 (Pixels, Channel; enumeration UnitsLength), and the OME-TIFF specification.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree

from cellmix_dali.slides.xml_text import name_of, read_xml, within

__all__ = ["Ome", "read_ome"]

# Microns of each unit. What has no size in metres ("pixel", "reference frame") is left out.
_MICRO, _ANGSTROM = "\u00b5m", "\u00c5"
_MICRONS = {
    "Ym": 1e30, "Zm": 1e27, "Em": 1e24, "Pm": 1e21, "Tm": 1e18, "Gm": 1e15, "Mm": 1e12, "km": 1e9, "hm": 1e8,
    "dam": 1e7, "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, _MICRO: 1.0, "nm": 1e-3, "pm": 1e-6, "fm": 1e-9,
    "am": 1e-12, "zm": 1e-15, "ym": 1e-18, _ANGSTROM: 1e-4, "thou": 25.4, "li": 25400 / 12, "in": 25400.0,
    "ft": 304800.0, "yd": 914400.0, "mi": 1609344000.0, "pt": 25400 / 72,
}  # fmt: skip
# Other signs for the same units: the Greek mu, the sign for angstrom, A with a ring in two characters, and what people
# write by hand.
_SAME = {
    "\u03bcm": _MICRO, "um": _MICRO, "micron": _MICRO, "microns": _MICRO, "micrometer": _MICRO,
    "\u212b": _ANGSTROM, "A\u030a": _ANGSTROM,
}  # fmt: skip


@dataclass(frozen=True)
class Ome:
    """What OME-XML says of one picture.

    Attributes
    ----------
    mpp : (float, float) or None
        Microns per pixel, across and down; None where it is not said, or in a unit that has no length.
    channels : int
        SizeC: how many channels there are, three for RGB.
    names : tuple of str
        The channels' names, where they have some.
    """

    mpp: tuple[float, float] | None
    channels: int
    names: tuple[str, ...]


def read_ome(description: str, width: int, height: int) -> Ome | None:
    """Read the OME-XML of a picture.

    Parameters
    ----------
    description : str
        The first directory's ImageDescription, whatever that is.
    width, height : int
        Size of the first picture in pixels. It finds the picture among several of one file.

    Returns
    -------
    Ome or None
        None if it is not OME-XML, or speaks of no picture of that size.
    """
    root = read_xml(description)
    if root is None or name_of(root) != "OME":
        return None
    for pixels in within(root, "Pixels"):
        if (pixels.get("SizeX"), pixels.get("SizeY")) == (str(width), str(height)):
            break
    else:
        return None
    channels = list(within(pixels, "Channel"))
    try:
        count = int(pixels.get("SizeC", ""))
    except ValueError:
        count = len(channels)
    x, y = _microns(pixels, "PhysicalSizeX"), _microns(pixels, "PhysicalSizeY")
    names = tuple(name for channel in channels if (name := channel.get("Name")))
    return Ome(None if x is None or y is None else (x, y), count, names)


def _microns(pixels: ElementTree.Element, name: str) -> float | None:
    # The unit is microns where none is given.
    unit = pixels.get(f"{name}Unit", _MICRO).strip()
    try:
        value = float(pixels.get(name, "")) * _MICRONS[_SAME.get(unit, unit)]
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) and value > 0 else None
