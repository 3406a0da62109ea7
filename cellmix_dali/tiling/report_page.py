"""The pages that a person opens after a tiling job: nothing is fetched from elsewhere, and they print.

With few slides the page holds their pictures itself, so that it can be sent to somebody; with more, pages show the
files in ``overviews/``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from ..jobs.report_pages import NONE, listed, write_pages

__all__ = ["write_report_pages"]

_TOLD = 1000  # failures, and slides with bad tiles, that the first page tells
_FEW = 60  # up to so many pictures stand in the page itself
_SIDE = 640  # longer side of these, pixels


def write_report_pages(folder: Path, report: Mapping[str, Any]) -> None:
    """Write a job's report as HTML pages; see `cellmix_dali.jobs.report_pages.write_pages`.

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
    times = report["timing"]["slides"]
    slides = listed([{**slide, "seconds": times[slide["slide"]]} for slide in report["slides"]])
    told = {status: [slide for slide in slides if slide["status"] == status] for status in ("failed", "not read")}
    told["bad tiles"] = [slide for slide in slides if slide["status"] == "done" and slide["bad_tiles"]]
    few = sum(slide["overview"] is not None for slide in slides) <= _FEW

    def content(shown: Sequence[Mapping[str, Any]], page: int) -> dict[str, Any]:
        return {
            **report,
            "told": {name: of[:_TOLD] for name, of in told.items()} if page == 1 else {},
            "more": {name: max(len(of) - _TOLD, 0) for name, of in told.items()},
            "pictures": {slide["number"]: _picture(folder, slide["overview"]) for slide in shown} if few else None,
        }

    filters = {"number": _number, "bytes": _bytes, "time": _time, "setting": _setting}
    write_pages(folder, __package__, slides, content, filters)


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


def _number(number: float | None) -> str:
    return NONE if number is None else f"{number:.4g}" if abs(number) < 10_000 else f"{number:,.0f}"


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
        return NONE
    if isinstance(value, list | tuple):
        return ", ".join(_setting(entry) for entry in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
