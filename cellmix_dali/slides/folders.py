"""The slide files of a folder."""

from __future__ import annotations

from pathlib import Path

from ..errors import SlideError
from ..storage.moment import is_folder, refusal
from ..storage.objects import asked_for
from .formats import slide_suffixes

__all__ = ["slides_in"]


def slides_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Find the slides that lie directly in a folder, by their suffixes.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    slides, folders : list of Path
        The files whose names end as a slide's, one or more, and the folders beside them that are not hidden, by name.

    Raises
    ------
    SlideError
        If there is no slide; a `NotReadError` if the folder cannot be looked into for a reason of the moment.
    """
    try:
        files = sorted(asked_for(folder).iterdir())
    except OSError as error:
        raise refusal(f"Cannot look into the folder {folder}", error, "Check it.") from error
    suffixes = slide_suffixes()
    found = [file for file in files if file.suffix.lower() in suffixes and not is_folder(file)]
    if not found:
        raise SlideError(
            f"There is no slide in the folder {folder}: looked for {', '.join(sorted(suffixes))}. For slides "
            f"in folders below, give a pattern in quotes: '{folder}/**/*.svs'."
        )
    return found, [file for file in files if is_folder(file) and not file.name.startswith(".")]
