"""The page that a person opens after a tiling job: one file, nothing to be fetched, and it prints."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import jinja2
from PIL import Image

__all__ = ["write_page"]

_BUDGET = 24_000_000  # bytes of pictures in the page, as base64
_FEW = 60  # up to so many slides have large pictures
_SIDES = (640, 240)  # longer side of a picture: of few, of many, pixels


class _Pictures:
    """Small copies of the overview pictures as data URLs, until there are too many bytes of them."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.side = _SIDES[count > _FEW]
        self.left = _BUDGET
        self.shown = self.over = 0

    def url(self, path: str | None) -> str | None:
        """Return a picture's data URL; None where there is none, it cannot be read, or the page is full."""
        if path is None:
            return None
        if self.over:  # the page is full: no further picture is worth making
            self.over += 1
            return None
        try:
            with Image.open(self.folder / path) as image:
                image.draft("RGB", (self.side, self.side))  # decodes a JPEG at a part of its size
                picture = image.convert("RGB")
            picture.thumbnail((self.side, self.side), Image.Resampling.BOX)
            file = BytesIO()
            picture.save(file, "JPEG", quality=75)
        except OSError:
            return None  # the page is worth having without it
        url = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
        if len(url) > self.left:
            self.over += 1
            return None
        self.left -= len(url)
        self.shown += 1
        return url


def write_page(file: BinaryIO, folder: Path, report: Mapping[str, Any]) -> None:
    """Write a job's report as one HTML page.

    Overview pictures go into the page in a small size, up to 24 MB; the page says so and links to the rest.

    Parameters
    ----------
    file : binary file
        To be written to, UTF-8.
    folder : Path
        Where the page will be; overview pictures are found from here.
    report : mapping
        What `JobReport.to_json` gives.
    """
    slides = [{**slide, "seconds": report["timing"]["slides"][slide["slide"]]} for slide in report["slides"]]
    names = Counter(Path(slide["slide"]).name for slide in slides)
    for number, slide in enumerate(slides, 1):
        slide["number"] = number
        name = Path(slide["slide"]).name
        slide["name"] = name if names[name] == 1 else slide["slide"]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "count": _count,
        "number": _number,
        "bytes": _bytes,
        "time": _time,
        "setting": _setting,
        "href": _href,
    }
    template = environment.from_string(resources.files(__package__).joinpath("report.html.jinja").read_text("utf-8"))
    pictures = _Pictures(folder, sum(slide["overview"] is not None for slide in slides))
    # The failures first, else in the order that the slides were given.
    slides.sort(key=lambda slide: ("failed", "not read", "done").index(slide["status"]))
    template.stream(**{**report, "slides": slides, "pictures": pictures}).dump(
        file,
        encoding="utf-8",
        errors="replace",  # a file's name need not be text
    )


_NONE = "\N{EN DASH}"


def _count(number: int | None) -> str:
    return _NONE if number is None else f"{number:,}"


def _number(number: float | None) -> str:
    return _NONE if number is None else f"{number:.4g}" if abs(number) < 10_000 else f"{number:,.0f}"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _setting(value: Any) -> str:
    if value is None:
        return _NONE
    if isinstance(value, list | tuple):
        return ", ".join(_setting(entry) for entry in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _href(path: str) -> str:
    return quote(path, errors="surrogateescape")
