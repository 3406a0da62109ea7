"""Pages that a person opens after a job: each of limited size, whatever the number of slides; nothing is fetched.

``report.html`` has what is told of the whole job, and the first slides; ``report/2.html`` and so on have the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from ..storage.aside import remove_parts, write_aside

__all__ = ["NONE", "listed", "write_pages"]

#: What stands for a number that is not known.
NONE = "\N{EN DASH}"
_FOLDER, _TEMPLATE = "report", "report.html.jinja"
_PER_PAGE = 200  # slides
_STATUSES = ("failed", "not read", "done")


def listed(slides: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return slides with their numbers and names: failures first, the others in their order.

    Parameters
    ----------
    slides : sequence of mapping
        With ``slide``, a path, and ``status``: "failed", "not read" or "done".

    Returns
    -------
    list of dict
        The same, with ``number``, from 1 on, and ``name``: that of the file, where no other slide has it.
    """
    names = Counter(Path(slide["slide"]).name for slide in slides)
    found = []
    for number, slide in enumerate(slides, 1):
        name = Path(slide["slide"]).name
        found.append({**slide, "number": number, "name": name if names[name] == 1 else slide["slide"]})
    return sorted(found, key=lambda slide: _STATUSES.index(slide["status"]))


def write_pages(
    folder: Path,
    package: str,
    slides: Sequence[Mapping[str, Any]],
    content: Callable[[Sequence[Mapping[str, Any]], int], Mapping[str, Any]],
    filters: Mapping[str, Callable[..., str]],
) -> None:
    """Write a job's report as HTML pages, and remove those of an earlier report with more slides.

    Parameters
    ----------
    folder : Path
        Where ``report.html`` goes.
    package : str
        The package whose ``report.html.jinja`` makes a page. That may include ``pages.html.jinja``, a list of pages.
    slides : sequence of mapping
        What `listed` gives.
    content : callable
        Of a page's slides and its number, from 1 on, gives what the template is told besides ``slides`` (those of the
        page), ``page``, ``pages`` and ``root`` (the way from the page to the folder).
    filters : mapping of str to callable
        Of the template, besides ``count`` (of whole numbers) and ``href``.

    Raises
    ------
    WriteError
        If a page cannot be written.
    """
    pages = [slides[first : first + _PER_PAGE] for first in range(0, len(slides), _PER_PAGE)] or [[]]
    places = [
        (_page(Path(), number).as_posix(), shown[0]["name"] if shown else "") for number, shown in enumerate(pages, 1)
    ]
    template = _template(package, filters)
    for number, shown in enumerate(pages, 1):
        file = _page(folder, number)
        file.parent.mkdir(exist_ok=True)
        where = {"slides": shown, "page": number, "pages": places, "root": "" if number == 1 else "../"}
        with write_aside(file) as page:
            # A file's name need not be text.
            template.stream({**content(shown, number), **where}).dump(page, encoding="utf-8", errors="replace")
    _remove_others(folder / _FOLDER, len(pages))


def _page(folder: Path, number: int) -> Path:
    return folder / f"{_FOLDER}.html" if number == 1 else folder / _FOLDER / f"{number}.html"


def _template(package: str, filters: Mapping[str, Callable[..., str]]) -> jinja2.Template:
    def text(name: str) -> str:
        return resources.files(package if name == _TEMPLATE else __package__).joinpath(name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "href": _href, **filters}
    return environment.get_template(_TEMPLATE)


def _count(number: int | None) -> str:
    return NONE if number is None else f"{number:,}"


def _href(path: str) -> str:
    return quote(path, errors="surrogateescape")


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
