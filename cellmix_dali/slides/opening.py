"""How a slide can be read: the first format that recognises the file says it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from cellmix_dali._arguments import path_of
from cellmix_dali._urls import url_of
from cellmix_dali.errors import NotReadError, SlideError
from cellmix_dali.slides.formats import SlideFile, formats_in_order
from cellmix_dali.slides.found import Found
from cellmix_dali.slides.stored import look_at_stored
from cellmix_dali.storage.moment import MOMENT, probe, refusal
from cellmix_dali.storage.paths import path_problem

__all__ = ["look_at"]


def look_at(path: str | os.PathLike[str]) -> Found:
    """Look at a slide file and choose how to read it.

    Parameters
    ----------
    path : path-like
        The slide file, or the URL of one in a store.

    Returns
    -------
    Found
        What it is.

    Raises
    ------
    SlideError
        If there is no such slide, or it is broken, or of a kind that cannot be read.
    NotReadError
        If it cannot be read just now, for a reason that says nothing of the slide.
    MissingDependencyError
        If OpenSlide cannot be imported.
    """
    place = path_of("A slide", path).absolute()
    return _look_at_file(place) if url_of(place) is None else look_at_stored(place, _look_at_file)


def _look_at_file(place: Path) -> Found:
    try:
        try:
            return _look_at(place)
        except SlideError as error:
            if isinstance(error, NotReadError) or not place.is_file():
                raise
        # OpenSlide may not know a file of which it could not read a part, or not open it, and says no more of that.
        cause = probe(place)
        if cause is not None:
            raise cause
        return _look_at(place)
    except SlideError:
        raise
    except OSError as error:
        raise refusal(f"Cannot read {place}", error, "Check that you may read the file.") from error


def _look_at(place: Path) -> Found:
    if "\0" in str(place):
        raise SlideError(str(path_problem(place)))
    try:
        place.stat()
    except OSError as error:
        if error.errno in MOMENT:
            raise
    problem = path_problem(place)
    if problem is not None:
        raise SlideError(problem)
    if place.is_dir():
        raise SlideError(f"{place} is a folder, not a slide. Name one slide file in it.")
    if not place.exists():
        raise SlideError(f"There is no slide at {place}. Check the path.")
    if place.stat().st_size == 0:
        raise SlideError(f"{place} is empty: 0 bytes. Copy the slide again from its source.")
    file = SlideFile(place)
    try:
        chosen = next(of for of in formats_in_order() if of.recognises(file))
        return replace(chosen.look(file), format=chosen.name)
    finally:
        file.close()
