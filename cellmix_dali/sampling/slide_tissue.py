"""What random places need to know of each slide: its levels and where it has tissue; kept in one small file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arguments import integer, number
from ..errors import ArgumentError, SlideError
from ..slides import open_slide
from ..slides.resolution import check_resolution, slide_mpp
from ..storage.aside import write_aside
from ..tissue.methods import DEFAULT_METHOD, TissueMethod
from ..tissue.slide_mask import find_tissue

__all__ = ["SlideTissue", "TintFilter", "open_tissue", "save_tissue", "tissue_of_slides"]

_FORMAT = 1
_MASK_SIZE = 1024  # pixels of a mask's longer side


@dataclass(frozen=True)
class TintFilter:
    """Which colours tissue must have, as Midnight's filter: a share of pixels within ranges of hue, saturation, value.

    It is applied to the overview picture of the slide, not to each tile's own pixels: so it costs nothing while a
    training runs, and says of a place what its surroundings of some hundred microns look like.

    Parameters
    ----------
    hue, saturation, value : (float, float)
        Ranges in OpenCV's 8-bit units: hue from 0 to 180, the others from 0 to 255. By default Midnight's, see the
        notes.
    share : float, default 0.6
        Least share of such pixels in a tile.

    Raises
    ------
    ArgumentError
        If a range or the share cannot be used.

    Notes
    -----
    Source: Karasikov et al., "Training state-of-the-art pathology foundation models with orders of magnitude less
    data" (arXiv 2504.05186).
    """

    hue: tuple[float, float] = (90, 180)
    saturation: tuple[float, float] = (8, 255)
    value: tuple[float, float] = (103, 255)
    share: float = 0.6

    def __post_init__(self) -> None:
        for name, most in (("hue", 180), ("saturation", 255), ("value", 255)):
            low, high = getattr(self, name)
            if number(name, low, 0, most) > number(name, high, 0, most):
                raise ArgumentError(f"{name}={getattr(self, name)}: the low end is above the high end.")
        number("share", self.share, 0, 1)

    def passes(self, picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which pixels of a picture (height, width, 3) have such colours."""
        red, green, blue = np.moveaxis(picture.astype(np.float32), -1, 0)
        most, least = picture.max(axis=-1).astype(np.float32), picture.min(axis=-1).astype(np.float32)
        width = most - least
        divisor = np.where(width > 0, width, 1)
        turn = np.where(
            most == red,
            (green - blue) / divisor,
            np.where(most == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
        )
        hue = np.mod(turn, 6) * 30
        saturation = 255 * width / np.where(most > 0, most, 1)
        found = np.ones(most.shape, bool)
        for channel, (low, high) in ((hue, self.hue), (saturation, self.saturation), (most, self.value)):
            found &= (channel >= low) & (channel <= high)
        return found


@dataclass(frozen=True, eq=False)
class SlideTissue:
    """One slide: its levels, and where it has tissue.

    Attributes
    ----------
    path : str
        The slide.
    levels : tuple of (int, int, float)
        Width, height and microns per pixel of each level, the finest first.
    shape : (int, int)
        Rows and columns of the masks, which show all of the slide.
    tissue, tinted : uint8 array
        Packed bits (`numpy.packbits`) of the masks: where tissue is, and what passes the `TintFilter`.
    area : float
        Square millimetres of tissue.
    """

    path: str
    levels: tuple[tuple[int, int, float], ...]
    shape: tuple[int, int]
    tissue: NDArray[np.uint8]
    tinted: NDArray[np.uint8]
    area: float

    def mask(self, *, tinted: bool = False) -> NDArray[np.bool_]:
        """Return a mask, bool (rows, columns)."""
        rows, columns = self.shape
        bits = np.unpackbits(self.tinted if tinted else self.tissue, count=rows * columns)
        return bits.reshape(rows, columns).astype(bool)


def tissue_of_slides(
    slides: Iterable[str | Path],
    *,
    mpp_override: float | None = None,
    tint: TintFilter = TintFilter(),
    method: str | TissueMethod = DEFAULT_METHOD,
    known: Sequence[SlideTissue] = (),
    num_workers: int = 2,
    on_error: Callable[[str, SlideError], Any] | None = None,
) -> list[SlideTissue]:
    """Look at slides: their levels and where they have tissue.

    Parameters
    ----------
    slides : iterable of str or Path
        The slides, each once.
    mpp_override : float, optional
        Microns per pixel of the finest level, for slides that do not say it or say it wrongly.
    tint : TintFilter, optional
        Which colours count as tinted.
    method : str or callable, default "density"
        How tissue is found, see `cellmix_dali.tissue.tissue_mask`.
    known : sequence of SlideTissue, optional
        Slides that were looked at before, by the same filter and method: they are not looked at again.
    num_workers : int, default 2
        Threads.
    on_error : callable, optional
        Called with the path and the error of each slide that cannot be used, which is left out then. By default the
        error is raised.

    Returns
    -------
    list of SlideTissue
        In the order of `slides`.

    Raises
    ------
    ArgumentError
        If a slide comes twice, none is left, or an argument cannot be used.
    SlideError
        If a slide cannot be read, has no tissue, does not say its resolution, or says one that no slide has.
    """
    check_resolution(1, mpp_override=mpp_override)
    paths = [str(path) for path in slides]
    if len(set(paths)) != len(paths):
        raise ArgumentError(f"{len(paths) - len(set(paths))} slide(s) come more than once: give each once.")
    before = {each.path: each for each in known}

    def look(path: str) -> SlideTissue | SlideError:
        if path in before:
            return before[path]
        try:
            return _looked_at(path, mpp_override, tint, method)
        except SlideError as error:
            return error

    with ThreadPoolExecutor(integer("num_workers", num_workers, low=1)) as workers:
        looked = list(workers.map(look, paths))
    found = []
    for path, each in zip(paths, looked, strict=True):
        if isinstance(each, SlideTissue):
            found.append(each)
        elif on_error is None:
            raise each
        else:
            on_error(path, each)
    if not found:
        raise ArgumentError(f"None of {len(paths)} slides can be used.")
    return found


def _looked_at(path: str, mpp_override: float | None, tint: TintFilter, method: str | TissueMethod) -> SlideTissue:
    """Open one slide and look at its overview."""
    with open_slide(path) as slide:
        finest = slide_mpp(slide, mpp_override)
        picture = slide.thumbnail(_MASK_SIZE)
        mask = find_tissue(slide, thumbnail=picture, method=method)
        if not mask.pixels.any():
            raise SlideError(f"{path} shows no tissue: leave it out, or use another tissue method.")
        return SlideTissue(
            path,
            tuple((level.width, level.height, finest * level.downsample) for level in slide.levels),
            (mask.pixels.shape[0], mask.pixels.shape[1]),
            np.packbits(mask.pixels),
            np.packbits(tint.passes(picture)),
            mask.area_mm2(finest),
        )


def save_tissue(slides: Sequence[SlideTissue], path: str | Path) -> None:
    """Write what is known of slides to one file (``.npz``); an existing one is replaced when the new one is complete.

    So one process looks at the slides, and all ranks, now and later, read the file in a moment.
    """
    told = [{**asdict(each), "tissue": each.tissue.size, "tinted": each.tinted.size} for each in slides]
    text = np.frombuffer(json.dumps({"format": _FORMAT, "slides": told}).encode(), np.uint8)
    bits = [bits for each in slides for bits in (each.tissue, each.tinted)]
    with write_aside(Path(path)) as file:
        np.savez(file, told=text, bits=np.concatenate(bits))


def open_tissue(path: str | Path) -> list[SlideTissue]:
    """Read what `save_tissue` wrote.

    Raises
    ------
    ArgumentError
        If there is no such file, or it is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            told, bits = json.loads(file["told"].tobytes()), file["bits"]
        if told["format"] != _FORMAT:
            raise ValueError(f"format {told['format']}")
        found, at = [], 0
        for each in told["slides"]:
            masks = []
            for name in ("tissue", "tinted"):
                masks.append(bits[at : at + each[name]])
                at += each[name]
            levels = tuple((int(width), int(height), float(mpp)) for width, height, mpp in each["levels"])
            rows, columns = each["shape"]
            found.append(SlideTissue(each["path"], levels, (rows, columns), masks[0], masks[1], each["area"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"{path} is not a file of slides' tissue that save_tissue wrote ({error}).") from error
    return found
