"""What no reader here knows: files of a scanner that are refused, with the name of a program that converts them.

Olympus VSI is a TIFF of the overview alone; the pyramid lies in ``.ets`` files in a folder beside it, so it is told by
its name. Philips iSyntax begins with XML of the type DPUfsImport and holds wavelets. Zeiss CZI begins with
"ZISRAWFILE"; what OpenSlide can open of it goes through OpenSlide, the rest is refused here.

Sources: the pages of Bio-Formats on "Olympus cellSens VSI" and "Zeiss CZI", and libisyntax.
"""

from __future__ import annotations

from typing import NoReturn

from cellmix_dali.errors import NotReadError, SlideError
from cellmix_dali.slides.formats.registry import SlideFormat, register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.openslide import OpenSlideFile

__all__ = ["Refused"]

_BIO_FORMATS = (
    "bfconvert -tilex 512 -tiley 512 -pyramid-resolutions 6 -pyramid-scale 2 -compression JPEG {name} {stem}.ome.tiff "
    "(bfconvert belongs to Bio-Formats)"
)
_ISYNTAX = "isyntax-to-tiff {name} {stem}.tiff (isyntax-to-tiff belongs to libisyntax)"


@register_format
class Refused(SlideFormat):
    """Files that must be converted."""

    name, rank, suffixes = "refused", 18, (".vsi", ".isyntax")
    files = "Olympus VSI, Philips iSyntax, Zeiss CZI that OpenSlide cannot open"
    read = "refused, with the command that converts them"
    tested = "their first bytes and names alone"

    def recognises(self, file: SlideFile) -> bool:  # noqa: D102
        return _kind(file) is not None

    def look(self, file: SlideFile) -> NoReturn:  # noqa: D102
        kind, command = _kind(file) or ("", "")
        command = command.format(name=file.path.name, stem=file.path.stem)
        raise SlideError(f"{file.path} is not read: it is {kind}. Convert it, for example: {command}.")


def _kind(file: SlideFile) -> tuple[str, str] | None:
    """What it is, and the command that converts it; None if it is something else."""
    if file.head.startswith(b"ZISRAWFILE"):
        problem = _czi_problem(file)
        return None if problem is None else (f"a Zeiss CZI that OpenSlide cannot open ({problem})", _BIO_FORMATS)
    if file.is_tiff:
        return ("an Olympus VSI, whose pyramid lies in other files", _BIO_FORMATS) if _is_vsi(file) else None
    if b'ObjectType="DPUfsImport"' in file.head:
        return "a Philips iSyntax, whose wavelets only Philips' and few other readers know", _ISYNTAX
    return None


def _czi_problem(file: SlideFile) -> str | None:
    """Why OpenSlide cannot open a CZI; None if it can."""
    if file.vendor is None:
        return "it knows no format for it"
    try:
        OpenSlideFile(file.path, file.vendor).handle()
    except NotReadError:
        raise
    except SlideError as error:
        return str(error.__cause__ or error)
    return None


def _is_vsi(file: SlideFile) -> bool:
    return file.path.suffix.lower() == ".vsi" and file.vendor in (None, "generic-tiff")
