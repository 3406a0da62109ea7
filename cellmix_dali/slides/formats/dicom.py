"""DICOM whole-slide images (VL Whole Slide Microscopy): a slide is a series of instances, each a file.

All files of a folder that say the same SeriesInstanceUID are one slide, whatever they are called; any of them opens it,
as in OpenSlide. An instance whose ImageType says VOLUME is a level, of TotalPixelMatrixColumns x Rows pixels in frames
of Columns x Rows; LABEL, OVERVIEW and THUMBNAIL are pictures beside it, and left out, as all others. Levels go by
falling width. A level may lie in several instances: the parts of a concatenation, or others that have different frames
of it. Frames are in order (TILED_FULL), or say where they go (TILED_SPARSE); one that is not there is white, as in
OpenSlide. Where they lie in the file, see `cellmix_dali.slides.dicom_instance`. An instance that is there twice, by its
SOPInstanceUID, counts once.

Files that share a level must have frames of one size, kind and colour: OpenSlide believes the first of them, and would
show the others wrongly. A file whose first bytes are those of a TIFF, too, is one if it is called .tif or .tiff.

Read directly: JPEG baseline in YBR_FULL_422, YBR_FULL or RGB, and JPEG 2000, lossless or not, in YBR_RCT, YBR_ICT or
RGB, of three samples of 8 bits. The photometric interpretation says whether JPEG holds YCbCr or RGB, whatever markers
the streams have. JPEG 2000 undoes YBR_RCT and YBR_ICT itself. A frame in several fragments is joined where it is read.
All else OpenSlide is asked for, level by level, such as frames that are not compressed, or several focal planes.

Microns per pixel are PixelSpacing of the largest level: first from row to row, then from column to column.

Sources: DICOM PS3.3, A.32.8, C.7.6.16 and C.7.6.17; PS3.5, 8.2 and A.4; and OpenSlide's page "DICOM format".
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import NotReadError, SlideError
from cellmix_dali.slides.block_table import BlockTable
from cellmix_dali.slides.dicom_instance import Instance, is_whole_slide, read_frames, read_instance, series_of
from cellmix_dali.slides.dicom_streams import FrameStreams, look_at_frame
from cellmix_dali.slides.formats.registry import SlideFormat, register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.found import Found, from_blocks, through_openslide
from cellmix_dali.slides.openslide import OpenSlideFile
from cellmix_dali.slides.samples import MOST_BLOCK_PIXELS
from cellmix_dali.storage.moment import MOMENT, refusal

__all__ = ["Dicom"]

_JPEG, _JPEG2000_LOSSLESS, _JPEG2000 = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 90, 91))
_COLOURS: Mapping[str, Mapping[str, Literal["rgb", "ycbcr"]]] = {
    _JPEG: {"YBR_FULL_422": "ycbcr", "YBR_FULL": "ycbcr", "RGB": "rgb"},
    _JPEG2000_LOSSLESS: {"YBR_RCT": "rgb", "YBR_ICT": "rgb", "RGB": "rgb"},
    _JPEG2000: {"YBR_RCT": "rgb", "YBR_ICT": "rgb", "RGB": "rgb"},
}
_SYNTAXES = {
    "1.2.840.10008.1.2": "not compressed", "1.2.840.10008.1.2.1": "not compressed",
    "1.2.840.10008.1.2.2": "not compressed", "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "lossless JPEG", "1.2.840.10008.1.2.4.70": "lossless JPEG",
    "1.2.840.10008.1.2.4.80": "JPEG-LS", "1.2.840.10008.1.2.4.81": "JPEG-LS", "1.2.840.10008.1.2.5": "RLE",
    "1.2.840.10008.1.2.4.110": "JPEG XL", "1.2.840.10008.1.2.4.111": "JPEG XL", "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.201": "HTJ2K", "1.2.840.10008.1.2.4.202": "HTJ2K", "1.2.840.10008.1.2.4.203": "HTJ2K",
}  # fmt: skip
_ORGANISATIONS = ("TILED_FULL", "TILED_SPARSE", "3D", "")
_SUFFIXES = (".dcm", ".dicom", "")  # a file of such a name that cannot be read just now may be a level
_TAGS = {"TransferSyntaxUID": "syntax", "SeriesInstanceUID": "series", "PhotometricInterpretation": "photometric"}
_ALIKE = {
    "syntax": "transfer syntax", "photometric": "photometric interpretation", "samples": "number of samples per pixel",
    "planes_apart": "planar configuration", "bits": "number of bits", "bits_stored": "number of stored bits",
    "signed": "pixel representation", "tile_width": "frames' width", "tile_height": "frames' height",
}  # fmt: skip
_HEADER_BYTES = 1 << 16
_MOST_BLOCKS = 1 << 22  # of a level: scanners write some 130,000
_KNOWN = 1 << 16  # files whose series are remembered


class _NotDirectError(Exception):
    """Why frames cannot go to a decoder as they are: a clause for a person."""


@register_format
class Dicom(SlideFormat):
    """DICOM VL Whole Slide Microscopy."""

    name, rank = "dicom", 5  # recognised by a few bytes, which spares asking OpenSlide
    suffixes = (".dcm",)
    files = "DICOM whole-slide images (a series in one folder)"
    read = "JPEG and JPEG 2000 frames go to DALI as they are; uncompressed ones through OpenSlide"
    since, tested = "0.1.0", "a real slide, and files written in its layout"

    vendor = "dicom"

    def recognises(self, file: SlideFile) -> bool:  # noqa: D102
        # A file that is both is a TIFF if it is called so and sound, as in OpenSlide, which is asked only then.
        may_be_tiff = file.is_tiff and file.path.suffix in (".tif", ".tiff")
        return is_whole_slide(file.head) and (not may_be_tiff or file.vendor == self.vendor)

    def look(self, file: SlideFile) -> Found:  # noqa: D102
        path = file.path
        instances = _series(path)
        levels = _levels(instances)
        if not levels:
            raise SlideError(
                f"{path} has no level: of the {len(instances)} files of its series in its folder, none has the "
                "ImageType VOLUME. Copy the whole series there."
            )
        first = levels[0][0]
        mpp = (1000 * first.spacing[1], 1000 * first.spacing[0]) if len(first.spacing) == 2 else None
        for number, parts in enumerate(levels):
            for instance in parts:
                _check(instance)
                _check_alike(number, parts[0], instance)
        tables: list[BlockTable | None] = []
        obstacles: list[str] = []
        for number, parts in enumerate(levels):
            try:
                tables.append(_table(number, parts))
            except _NotDirectError as obstacle:
                tables.append(None)
                obstacles.append(str(obstacle))
        direct = [table for table in tables if table is not None]
        blank = sum(int((table.counts == 0).sum()) for table in direct)
        said = f" Frames that are not there are white: {blank}." if blank else ""
        if obstacles:
            own = [(parts[0].width, parts[0].height) for parts in levels]
            return self._in_part(path, obstacles[0], own, tables, said)
        return from_blocks(
            path,
            direct,
            f"The file is a DICOM slide whose frames any decoder can read.{said}",
            vendor=self.vendor,
            mpp=mpp,
            properties=_properties(first, mpp),
        )

    def _in_part(
        self,
        path: Path,
        obstacle: str,
        own: Sequence[tuple[int, int]],
        tables: Sequence[BlockTable | None],
        said: str,
    ) -> Found:
        """Leave to OpenSlide the levels without a table; all of them where it sees levels of other sizes than these."""
        pixels = OpenSlideFile(path, self.vendor)
        try:
            reason = f"Read through OpenSlide: {obstacle}."
            if any(tables) and tuple(own) == pixels.handle().level_dimensions:
                reason = f"The file is a DICOM slide. Read through OpenSlide in part: {obstacle}.{said}"
            else:
                tables = ()
            return through_openslide(path, self.vendor, pixels, reason, tuple(tables))
        except NotReadError:
            raise
        except SlideError as error:
            raise SlideError(
                f"{path} cannot be read: {obstacle}, and OpenSlide refuses it too ({error.__cause__ or error}). Copy "
                "the whole series again, or export it in JPEG or JPEG 2000 from the scanner's software."
            ) from error


def _series(path: Path) -> list[Instance]:
    """All instances in the folder that are of the same series as a file, that one first."""
    own = _instance(path)
    if not own.series:
        raise SlideError(f"{path} is a DICOM file without a SeriesInstanceUID: it is damaged. Copy it from its source.")
    found = [own]
    with os.scandir(path.parent) as entries:
        others = sorted((entry for entry in entries if entry.name != path.name), key=lambda entry: entry.name)
    for entry in others:
        other = Path(entry.path)
        try:
            if entry.is_file():
                state = entry.stat()
                version = state.st_ino, state.st_size, state.st_mtime_ns
                if _series_once(other, version) == own.series:
                    found.append(_instance(other))
        except SlideError:
            raise
        except OSError as error:
            if error.errno in MOMENT and other.suffix.lower() in _SUFFIXES:
                raise refusal(f"Cannot read {other}, which may be of one slide with {path}", error, "") from error
    return found


@functools.lru_cache(maxsize=_KNOWN)
def _series_once(path: Path, version: tuple[int, int, int]) -> str:  # noqa: ARG001 (another version is another file)
    """The series of a file; empty where it is not an instance of a whole-slide image."""
    return series_of(path)[0]


def _instance(path: Path) -> Instance:
    try:
        return read_instance(path)
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> SlideError:
    return SlideError(f"{path} is truncated or damaged: {error}. Copy the slide again from its source.")


def _levels(instances: Sequence[Instance]) -> list[list[Instance]]:
    """The instances of each level, the widest first; those of a concatenation in order."""
    found: dict[tuple[int, int], dict[str, Instance]] = {}
    for instance in instances:
        if instance.shows == "VOLUME":
            found.setdefault((instance.width, instance.height), {}).setdefault(instance.uid, instance)
    levels = [sorted(level.values(), key=lambda instance: instance.part) for level in found.values()]
    return sorted(levels, key=lambda level: -level[0].width)


def _table(number: int, parts: Sequence[Instance]) -> BlockTable:
    """Where the blocks of a level lie; an error where they cannot be read."""
    first = parts[0]
    for part in parts:
        _check_kind(number, part)
    _check_parts(number, parts)
    wide, high = first.tile_width, first.tile_height
    columns, rows = -(-first.width // wide), -(-first.height // high)
    offsets, counts, files = _places(number, parts, columns, rows)
    return BlockTable(
        width=first.width,
        height=first.height,
        block_width=wide,
        block_height=high,
        columns=columns,
        rows=rows,
        offsets=offsets,
        counts=counts,
        compression="jpeg" if first.syntax == _JPEG else "jpeg2000",
        colour=_COLOURS[first.syntax][first.photometric],
        streams=_streams(number, parts, offsets, counts, files),
        path=first.path,
        files=tuple(part.path for part in parts) if files is not None else (),
        file=files,
        in_items=True,
    )


def _places(
    number: int, parts: Sequence[Instance], columns: int, rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint16] | None]:
    """Offset, bytes and file of each block of a level; no files where it has only one."""
    blocks = columns * rows
    offsets = counts = np.empty(0, np.int64)
    files = np.zeros(blocks, np.uint16) if len(parts) > 1 else None
    for file, part in enumerate(parts):
        try:
            frames = read_frames(part)
            if frames.columns is None or frames.rows is None:
                index: slice | NDArray[np.int64] = slice(part.first_frame, part.first_frame + part.frames)
                if part.first_frame + part.frames > blocks:
                    raise _NotDirectError(f"level {number} has {blocks} tiles and more frames, such as focal planes")
                if files is None:
                    return frames.offsets, frames.counts, None
            else:
                if (frames.columns >= columns).any() or (frames.rows >= rows).any():
                    raise ValueError("a frame lies beyond its level")
                index = frames.rows * columns + frames.columns
        except ValueError as error:
            raise _damaged(part.path, error) from error
        if not offsets.size:
            offsets, counts = np.zeros(blocks, np.int64), np.zeros(blocks, np.int64)
        before = np.count_nonzero(counts)
        offsets[index], counts[index] = frames.offsets, frames.counts
        if np.count_nonzero(counts) != before + part.frames:
            raise _NotDirectError(f"level {number} has several frames at one place, such as focal planes")
        if files is not None:
            files[index] = file
    return offsets, counts, files


def _check(of: Instance) -> None:
    """Refuse what no reader should see: OpenSlide's process may end over it."""
    if min(of.width, of.height, of.tile_width, of.tile_height) < 1:
        size = f"{of.width} x {of.height} pixels in frames of {of.tile_width} x {of.tile_height}"
        raise _damaged(of.path, ValueError(f"its size is {size}"))
    if of.tile_width * of.tile_height > MOST_BLOCK_PIXELS:
        raise SlideError(
            f"{of.path} cannot be read: its frames are {of.tile_width} x {of.tile_height} pixels, and a block may have "
            f"{MOST_BLOCK_PIXELS} (8192 x 8192). If the file is sound, export it again in smaller frames."
        )
    blocks = -(-of.width // of.tile_width) * -(-of.height // of.tile_height)
    if blocks > _MOST_BLOCKS:
        raise _damaged(of.path, ValueError(f"its level has {blocks} tiles, and a level at most {_MOST_BLOCKS}"))
    if of.is_full and not of.concatenation and of.frames % blocks:
        raise _damaged(of.path, ValueError(f"it has {of.frames} frames, and its level {blocks} tiles"))
    if not of.is_full and not of.says_places:
        raise _damaged(of.path, ValueError("it does not say where its frames go"))


def _check_alike(number: int, first: Instance, other: Instance) -> None:
    """Refuse a level of files whose pixels differ: OpenSlide would show some in wrong colours without a word."""
    for name, what in _ALIKE.items():
        one, two = getattr(first, name), getattr(other, name)
        if one != two:
            raise SlideError(
                f"{other.path} is not read: it has a part of level {number}, as {first.path} has, but its {what} is "
                f"{two or 'not said'}, there {one or 'not said'}. If it does not belong there, take it out of the "
                "folder; else copy the whole series again."
            )


def _check_kind(number: int, of: Instance) -> None:
    """Tell what cannot be read directly."""
    if of.syntax not in _COLOURS:
        how = _SYNTAXES.get(of.syntax, "of another kind")
        raise _NotDirectError(f"the frames of level {number} are {how} (transfer syntax {of.syntax or 'not said'})")
    if (of.samples, of.bits, of.bits_stored, of.signed, of.planes_apart) != (3, 8, 8, 0, 0):
        raise _NotDirectError(f"level {number} is not three interleaved samples of 8 bits")
    if of.photometric not in _COLOURS[of.syntax]:
        raise _NotDirectError(f"level {number} has the photometric interpretation {of.photometric or 'not said'}")
    if of.focal_planes != 1:
        raise _NotDirectError(f"level {number} has {of.focal_planes} focal planes")
    if of.organisation not in _ORGANISATIONS:
        raise _NotDirectError(f"the frames of level {number} are organised as {of.organisation}")


def _check_parts(number: int, parts: Sequence[Instance]) -> None:
    """Tell whether the instances of a level are parts of one, all of them."""
    first, concatenations = parts[0], {part.concatenation for part in parts}
    if len(concatenations) > 1:
        raise _NotDirectError(f"level {number} is in {len(parts)} files that are not parts of one concatenation")
    said = [part.part for part in parts]
    total = max(first.parts, len(parts), 2)  # one part alone is not a concatenation
    if first.concatenation and said != list(range(1, total + 1)):
        raise _NotDirectError(f"of the {total} or more parts of level {number}, the folder has those numbered {said}")


def _streams(
    number: int,
    parts: Sequence[Instance],
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
    files: NDArray[np.uint16] | None,
) -> FrameStreams:
    """Look at the first frame of a level, by which the others are made streams."""
    at = int((counts > 0).argmax())
    of, offset, count = parts[0 if files is None else int(files[at])], int(offsets[at]), int(counts[at])
    colour = _COLOURS[of.syntax][of.photometric] if of.syntax == _JPEG else None
    try:
        with of.path.open("rb", buffering=0) as file:
            try:
                streams, found = look_at_frame(os.pread(file.fileno(), min(count, _HEADER_BYTES), offset), colour)
            except ValueError:  # perhaps a long header
                streams, found = look_at_frame(os.pread(file.fileno(), count, offset), colour)
        if found != (of.tile_width, of.tile_height, 3, 8):
            raise ValueError(
                f"it is {found[0]}x{found[1]} pixels of {found[2]} components with {found[3]} bits, the file says "
                f"{of.tile_width}x{of.tile_height} pixels of 3 with 8"
            )
    except ValueError as error:
        raise _damaged(of.path, ValueError(f"the first frame of level {number}: {error}")) from error
    return streams


def _properties(first: Instance, mpp: tuple[float, float] | None) -> dict[str, str]:
    """What OpenSlide calls by the same names."""
    found = {"openslide.vendor": "dicom"} | {f"dicom.{name}": getattr(first, of) for name, of in _TAGS.items()}
    if mpp is not None:
        found |= {"openslide.mpp-x": f"{mpp[0]:.17g}", "openslide.mpp-y": f"{mpp[1]:.17g}"}
    if first.power is not None:
        found["openslide.objective-power"] = f"{first.power:.17g}"
    return found
