"""Slides in stores: what of them must be there for a read, and slides that are copied, as only OpenSlide reads them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cellmix_dali._urls import url_of
from cellmix_dali.errors import NotReadError, SlideError
from cellmix_dali.slides.dicom_instance import series_of
from cellmix_dali.slides.found import Found
from cellmix_dali.slides.intervals import IntervalStreams
from cellmix_dali.slides.stored_slide import StoredSlide
from cellmix_dali.slides.tiff_fetch import fetch_structure
from cellmix_dali.storage.mirror import Mirror, attach, fetch
from cellmix_dali.storage.objects import here_folder
from cellmix_dali.storage.stores import HEAD_BYTES

__all__ = ["look_at_stored"]

_MAGICS = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
_HASH = "openslide.quickhash-1"  # of pixels, which were not there
_DICOM = frozenset({".dcm", ".dicom", ""})
_FAMILY = frozenset({".vms", ".vmu"})  # suffixes of slides whose other files lie in the same folder


def look_at_stored(place: Path, look: Callable[[Path], Found]) -> Found:
    """Look at a slide in a store.

    Parameters
    ----------
    place : Path
        The path that stands for it.
    look : callable
        Looks at a local file.

    Raises
    ------
    SlideError
        If there is no such object, or it is not a slide that can be read.
    NotReadError
        If the store cannot be asked just now.
    """
    try:
        mirror = attach(place, fresh=True)
        assert mirror is not None
        with fetch([mirror.part(0, 4096)]), place.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError as error:
        raise SlideError(f"There is no slide at {url_of(place)}. Check the URL.") from error
    if head.startswith(_MAGICS):
        structure = fetch_structure(mirror)
        try:
            with fetch([structure]):
                found = look(place)
        except NotReadError:
            raise
        except SlideError as error:  # perhaps only for what is not there yet
            return _copied(mirror, [], look, f"it cannot be read by its blocks: {error}")
        if _by_blocks(found):
            kept = {name: value for name, value in found.properties.items() if name != _HASH}
            return replace(found, properties=kept, stored=StoredSlide(mirror, (structure,), is_copied=False))
        if found.pixels is not None:
            found.pixels.close()
        return _copied(mirror, [], look, f"its blocks are not read one by one. {found.reason}")
    return _copied(mirror, _others(place, head), look, "it is not a TIFF")


def _by_blocks(found: Found) -> bool:
    """Whether all levels have blocks that lie each in one piece of the one file."""
    return bool(found.tables) and all(
        table is not None
        and table.paths(found.path) == (found.path,)
        and not isinstance(table.streams, IntervalStreams)
        for table in found.tables
    )


def _others(place: Path, head: bytes) -> list[Mirror]:
    """The other files of a slide of several."""
    if place.suffix.lower() == ".mrxs":
        return here_folder(place.with_suffix(""))
    if place.suffix.lower() in _FAMILY:
        stem = place.stem.lower()
        return [of for of in here_folder(place.parent) if stem in of.path.name.lower()]
    if head[128:132] == b"DICM":
        return _series(place)
    return []


def _series(place: Path) -> list[Mirror]:
    """The instances of a DICOM series, which lie in one folder with those of others."""
    beside = [of for of in here_folder(place.parent) if of.path.suffix.lower() in _DICOM]
    with fetch([of.part(0, HEAD_BYTES) for of in beside]):
        series, _ = series_of(place)
        return [of for of in beside if series_of(of.path)[0] == series]


def _copied(mirror: Mirror, others: Sequence[Mirror], look: Callable[[Path], Found], reason: str) -> Found:
    """Copy a slide as a whole, and look at the copy."""
    whole = tuple(of.everything() for of in dict.fromkeys([mirror, *others]))
    if not all(of.is_whole for of, _, _ in whole):
        size = sum(of.of.size for of, _, _ in whole)
        warnings.warn(f"{mirror.of.url} is copied before it is read ({size / 1e6:,.1f} MB), as {reason}", stacklevel=2)
    with fetch(whole):
        found = look(mirror.path)
    return replace(found, stored=StoredSlide(mirror, whole, is_copied=True))
