"""Whether the pictures of a TIFF file are what training takes: 8-bit colour (or grey), as brightfield scanners give it.

Readers show other pictures without a word, but wrongly: 16 bits lose the lower half and become black, one channel of
several becomes grey, four inks become black, turned pictures come out scrambled block by block. So such files are
refused with the reason, on whichever route. Source: TIFF 6.0, and libtiff's TIFFRGBAImage, by which OpenSlide reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cellmix_dali.errors import SlideError
from cellmix_dali.slides.ome import Ome, read_ome
from cellmix_dali.slides.tiff_pages import TiffFile, TiffPage
from cellmix_dali.storage.moment import moment_of

__all__ = ["MOST_BLOCK_PIXELS", "check_block_size", "check_pictures", "check_properties", "check_tiff", "ome_of"]

#: Pixels of the largest block that is read: 8192 x 8192, 256 MB in OpenSlide. Scanners write 256 x 256 to 4096 x 4096.
MOST_BLOCK_PIXELS = 1 << 26

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_GREY = (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _PALETTE: 1, _RGB: 3, _YCBCR: 3}
_JPEG = 7
_UNSIGNED, _VOID = 1, 4  # of SampleFormat; void: "not said"
_ORIENTATION, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 274, 338, 339
_ALPHA = (1, 2)  # of ExtraSamples: colours multiplied by it, or not
_ORIENTATIONS = {
    2: "mirrored from left to right", 3: "turned by 180 degrees", 4: "mirrored from top to bottom",
    5: "mirrored along the diagonal", 6: "turned by 90 degrees", 7: "mirrored along the other diagonal",
    8: "turned by 270 degrees",
}  # fmt: skip


def ome_of(page: TiffPage) -> Ome | None:
    """Read the OME-XML of the first directory; None where it has none that speaks of it."""
    return read_ome(page.description, page.imagewidth, page.imagelength)


def photometric_name(code: int) -> str:
    """Name a photometric interpretation for a person, such as "8 CIELAB"."""
    import tifffile  # only for a name: it takes a tenth of a second to import

    try:
        return f"{code} {tifffile.PHOTOMETRIC(code).name}"
    except ValueError:
        return str(code)


def check_block_size(path: Path, number: int, wide: int, high: int) -> None:
    """Refuse a level whose blocks, of this width and height, are too large for memory, before a reader sees the file.

    Raises
    ------
    SlideError
        If a block has more than `MOST_BLOCK_PIXELS` pixels. OpenSlide asks GLib for that memory, and GLib ends the
        process where there is not as much.
    """
    if wide * high > MOST_BLOCK_PIXELS:
        raise SlideError(
            f"{path} cannot be read: the blocks of level {number} are {wide} x {high} pixels, and a block may have "
            f"{MOST_BLOCK_PIXELS} (8192 x 8192). If the file is sound, write it with smaller tiles, for example: "
            f"vips tiffsave {path.name} out.tiff --tile --tile-width 256 --tile-height 256 --pyramid --compression "
            "jpeg. If not, copy it again from its source."
        )


def check_byte_counts(path: Path, number: int, page: TiffPage) -> None:
    """Refuse a level with a block of more bytes than the file has: OpenSlide asks GLib for as much, as above.

    Raises
    ------
    SlideError
        If there is such a block.
    """
    most, there = int(page.counts.max(initial=0)), path.stat().st_size
    if most > there:
        raise SlideError(
            f"{path} is truncated or damaged: a block of level {number} takes {most} bytes, and the file has {there}. "
            "Copy the slide again from its source."
        )


def check_pictures(path: Path, levels: Sequence[TiffPage], pages: Sequence[TiffPage]) -> None:
    """Refuse a slide that readers would show wrongly.

    Parameters
    ----------
    path : Path
        The slide.
    levels : sequence of TiffPage
        Its levels.
    pages : sequence of TiffPage
        All tiled directories of the file: further channels may be among them.

    Raises
    ------
    SlideError
        If a level has not 8 bits per sample, is not grey, RGB, YCbCr or a palette, has samples of unknown meaning, or
        is turned or mirrored; or if the file holds channels of which the levels are one.
    """
    for number, page in enumerate(levels):
        problem = _problem(number, page)
        if problem is not None:
            raise _refused(path, *problem)
    channels = _channels(levels[0], pages)
    if channels is not None:
        raise _refused(path, channels, _MERGE)


_WINDOW = (
    "Choose what is black and what is white and write it in 8 bits, for example: vips linear {name} "
    "out.tiff[tile,pyramid] FACTOR OFFSET --uchar, with FACTOR 0.0625 for data of 12 bits"
)
_MERGE = (
    "Join the channels to one RGB picture of 8 bits, for example, of three pages R, G, B: vips bandjoin "
    "'{name}[page=0] {name}[page=1] {name}[page=2]' out.tiff[tile,pyramid]"
)
_TO_RGB = "Convert it to RGB of 8 bits, for example: vips colourspace {name} out.tiff[tile,pyramid] srgb"
_TURN = "Turn it upright, for example: vips autorot {name} out.tiff[tile,pyramid]"


def _refused(path: Path, what: str, remedy: str) -> SlideError:
    return SlideError(f"{path} is not read: {what}. {remedy.format(name=path.name)}.")


def _problem(number: int, page: TiffPage) -> tuple[str, str] | None:
    # What readers get wrong of one picture, and what to do.
    photometric, samples, bits = page.photometric, page.samplesperpixel, page.bitspersample
    level = f"level {number}"
    if _SAMPLE_FORMAT in page and page.sampleformat not in (_UNSIGNED, _VOID):
        kind = {2: "signed numbers", 3: "floating-point numbers"}.get(page.sampleformat, "complex numbers")
        return f"the samples of {level} are {kind} of {bits} bits, not unsigned numbers of 8", _WINDOW
    least = 1 if photometric in (*_GREY, _PALETTE) else 8
    if bits > 8 or bits < least:
        shown = ", of which readers show the upper 8: data of 12 bits would be nearly black" if bits == 16 else ""
        return f"{level} has {bits} bits per sample{shown}", _WINDOW
    if photometric == _CMYK:
        return f"{level} is in four inks (CMYK), which readers show in black or in wrong colours", _TO_RGB
    colours = _COLOURS.get(photometric)
    if colours is None:
        name = photometric_name(photometric)
        return f"{level} has the photometric interpretation {name}, not RGB", _TO_RGB
    extra = _extra_samples(page)
    if samples < colours:
        return f"{level} says that it is in colour, but has {samples} samples per pixel", _TO_RGB
    if samples > colours and (samples > colours + 1 or extra[:1] not in [(alpha,) for alpha in _ALPHA]):
        return (
            f"{level} has {samples} samples per pixel, of which readers show {colours}: the others are channels, or "
            "of a meaning that the file does not say",
            _MERGE.partition(",")[0] + ": vips extract_band {name} out.tiff[tile,pyramid] 0 --n 3",
        )
    if page.compression == _JPEG and samples == 4:
        return f"the blocks of {level} are JPEG of four components, which readers show in wrong colours", _TO_RGB
    orientation = page.value(_ORIENTATION)
    if isinstance(orientation, int) and orientation in _ORIENTATIONS:
        return (
            f"{level} is {_ORIENTATIONS[orientation]} (its Orientation tag is {orientation}), and readers would turn "
            "each block by itself",
            _TURN,
        )
    return None


def _extra_samples(page: TiffPage) -> tuple[int, ...]:
    return tuple(page.numbers(_EXTRA_SAMPLES).tolist())


def _channels(first: TiffPage, pages: Sequence[TiffPage]) -> str | None:
    # Whether the first picture is one channel of several.
    ome, samples = ome_of(first), first.samplesperpixel
    if ome is not None and ome.channels > max(samples, 3 if first.photometric == _PALETTE else 1):
        names = f" ({', '.join(ome.names)})" if ome.names else ""
        return f"its OME-XML speaks of {ome.channels} channels{names}, of which the first picture has {samples}"
    if first.photometric not in _GREY or samples != 1:
        return None
    size = (first.imagewidth, first.imagelength)
    alike = sum(
        (page.imagewidth, page.imagelength) == size
        and page.photometric == first.photometric
        and not page.subfiletype & 5
        for page in pages
    )
    if alike > 1:
        return (
            f"it has {alike} grey pictures of {size[0]} x {size[1]} pixels: channels or focal planes, no colour picture"
        )
    return None


def check_tiff(path: Path) -> None:
    """Check the finest level of a vendor's TIFF file before OpenSlide reads it.

    Parameters
    ----------
    path : Path
        A TIFF file of a format whose levels OpenSlide finds.

    Raises
    ------
    SlideError
        See `check_block_size`, `check_byte_counts` and `check_pictures`. A file whose directories cannot be read is
        left to OpenSlide.
    """
    try:
        with TiffFile(path) as file:
            pages = [page for page in file.pages if page.is_tiled]
            for number, page in enumerate(pages):
                check_block_size(path, number, page.tilewidth, page.tilelength)
                check_byte_counts(path, number, page)
            if pages:
                finest = max(pages, key=lambda page: page.imagewidth * page.imagelength)
                problem = _problem(0, finest)
                if problem is not None:
                    raise _refused(path, *problem)
    except SlideError:
        raise
    except (ValueError, OSError) as error:
        if moment_of(error) is not None:
            raise


def check_properties(path: Path, properties: dict[str, str]) -> None:
    """Refuse what OpenSlide opens although it is not a brightfield slide.

    Parameters
    ----------
    path : Path
        The slide.
    properties : dict
        OpenSlide's.

    Raises
    ------
    SlideError
        If the scanner says that it scanned fluorescence.
    """
    for name in ("mirax.GENERAL.SLIDE_TYPE", "leica.illumination-source"):
        if "fluorescence" in properties.get(name, "").lower():
            raise SlideError(
                f"{path} is not read: it is a fluorescence slide ({name} is {properties[name]}), and its tiles would "
                "be nearly black. Export the channels as one RGB picture of 8 bits from the scanner's software."
            )
