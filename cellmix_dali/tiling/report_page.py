"""The pages that a person opens after a tiling job: nothing is fetched from elsewhere, and they print.

``report.html`` has the totals, the failures, the settings and the first slides; ``report/2.html`` and so on have the
others. With few slides the page holds their pictures itself, so that it can be sent to somebody; with more, pages show
the files in ``overviews/``.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from PIL import Image

from ..storage.aside import remove_parts, write_aside

__all__ = ["write_pages"]

_FOLDER = "report"
_PER_PAGE = 200  # slides
_TOLD = 1000  # failures, and slides with bad tiles, that the first page tells
_FEW = 60  # up to so many pictures stand in the page itself
_SIDE = 640  # longer side of these, pixels


def write_pages(folder: Path, report: Mapping[str, Any]) -> None:
    """Write a job's report as HTML pages, and remove those of an earlier report with more slides.

    Parameters
    ----------
    folder : Path
        The job's; overview pictures are found from here.
    report : mapping
        What `JobReport.to_json` gives.

    Raises
    ------
    WriteError
        If a page cannot be written.
    """
    slides = _slides(report)
    told = {status: [slide for slide in slides if slide["status"] == status] for status in ("failed", "not read")}
    told["bad tiles"] = [slide for slide in slides if slide["status"] == "done" and slide["bad_tiles"]]
    pages = [slides[first : first + _PER_PAGE] for first in range(0, len(slides), _PER_PAGE)] or [[]]
    few = sum(slide["overview"] is not None for slide in slides) <= _FEW
    template, contents = _template(), _contents(pages)
    for number, shown in enumerate(pages, 1):
        file = _page(folder, number)
        file.parent.mkdir(exist_ok=True)
        content = template.stream(
            **{**report, "slides": shown},
            told={name: of[:_TOLD] for name, of in told.items()} if number == 1 else {},
            more={name: max(len(of) - _TOLD, 0) for name, of in told.items()},
            page=number,
            pages=contents,
            root="" if number == 1 else "../",
            pictures={slide["number"]: _picture(folder, slide["overview"]) for slide in shown} if few else None,
        )
        with write_aside(file) as page:
            content.dump(page, encoding="utf-8", errors="replace")  # a file's name need not be text
    _remove_others(folder / _FOLDER, len(pages))


def _slides(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The slides with their times, numbers and names; the failures first, else in the order that they were given."""
    slides = [{**slide, "seconds": report["timing"]["slides"][slide["slide"]]} for slide in report["slides"]]
    names = Counter(Path(slide["slide"]).name for slide in slides)
    for number, slide in enumerate(slides, 1):
        name = Path(slide["slide"]).name
        slide |= {"number": number, "name": name if names[name] == 1 else slide["slide"]}
    return sorted(slides, key=lambda slide: ("failed", "not read", "done").index(slide["status"]))


def _page(folder: Path, number: int) -> Path:
    return folder / f"{_FOLDER}.html" if number == 1 else folder / _FOLDER / f"{number}.html"


def _contents(pages: Sequence[Sequence[Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """Where each page lies, from the job's folder, and the name of its first slide."""
    return [
        (_page(Path(), number).as_posix(), shown[0]["name"] if shown else "") for number, shown in enumerate(pages, 1)
    ]


def _picture(folder: Path, path: str | None) -> str | None:
    """A small copy of an overview picture as a data URL; None where there is none, or it cannot be read."""
    if path is None:
        return None
    try:
        with Image.open(folder / path) as image:
            image.draft("RGB", (_SIDE, _SIDE))  # decodes a JPEG at a part of its size
            picture = image.convert("RGB")
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
        file = BytesIO()
        picture.save(file, "JPEG", quality=75)
    except OSError:
        return None  # the page is worth having without it
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _remove_others(folder: Path, pages: int) -> None:
    """Remove pages beyond the last, and a folder that has none."""
    if not folder.is_dir():
        return
    remove_parts(folder)
    for file in folder.glob("*.html"):
        if file.stem.isdecimal() and int(file.stem) > pages:
            file.unlink()
    if pages == 1 and not any(folder.iterdir()):
        folder.rmdir()


def _template() -> jinja2.Template:
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
    return environment.from_string(resources.files(__package__).joinpath("report.html.jinja").read_text("utf-8"))


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
