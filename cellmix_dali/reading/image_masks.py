"""Class masks of image files: a folder of PNG files beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .._arguments import IGNORED, integer, path_of
from ..errors import ArgumentError, CellMixDaliError
from ..storage.moment import is_folder, may_be_file

__all__ = ["ImageMaskReader", "ImageMasks"]

_SUFFIX = ".png"
_CLASSES_OF_MODES = ("L", "P", "1")  # grey; places in a palette; two classes
_LOOKED_AT = 4  # masks that are read beforehand, so that what cannot work is refused at once
_THREADS = 4


@dataclass(frozen=True)
class ImageMasks:
    """Class masks of image files, from PNG files.

    Attributes
    ----------
    folder : Path
        Of the masks: ``a.png`` or ``a.jpg.png`` for ``a.jpg``, in the same subfolders as the images have, or all in
        one. Grey (8 bits), of a palette (its numbers are the classes), or black and white (0 and 1), in the image's
        proportions at any resolution.
    values : int, default 255
        Values go from 0 to ``values - 1``; 255 is ignored. Any other value is an error.

    Raises
    ------
    ArgumentError
        If there is no such folder, or an argument is out of range.
    """

    folder: Path
    values: int = 255

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", path_of("The folder of masks", self.folder).absolute())
        if not is_folder(self.folder):
            raise ArgumentError(f"There is no folder of masks at {self.folder}: correct the path.")
        object.__setattr__(self, "values", integer("values", self.values, low=1, high=IGNORED))

    def files_of(self, images: Sequence[str]) -> list[Path]:
        """Find each image's mask.

        Parameters
        ----------
        images : sequence of str
            Paths of image files.

        Raises
        ------
        ArgumentError
            If an image has none, or two would share one.
        """
        paths = [Path(image).absolute() for image in images]
        root = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
        owner: dict[Path, Path] = {}
        found = []
        for path in paths:
            folders = [self.folder / path.parent.relative_to(root), self.folder]
            names = [f"{path.stem}{_SUFFIX}", f"{path.name}{_SUFFIX}"]
            places = [folder / name for folder in folders for name in names]
            file = next((place for place in places if place != path and may_be_file(place)), None)
            if file is None:
                raise ArgumentError(
                    f"There is no mask for {path}: looked for {', '.join(map(str, dict.fromkeys(places)))}. Add it, or "
                    "leave the image out."
                )
            other = owner.setdefault(file, path)
            if other != path:
                raise ArgumentError(
                    f"{other} and {path} would share {file}: put masks into the same subfolders as the images, or name "
                    "them by the images' full names."
                )
            found.append(file)
        return found

    def told(self) -> str:
        """Return what they are but for the place, by which states of loaders are told apart."""
        return f"{type(self).__name__}(values={self.values})"


class ImageMaskReader:
    """Reads the class masks of image files.

    A pixel has the class of the mask's pixel that its middle lies in; nothing is interpolated.

    Parameters
    ----------
    images : sequence of str
        Paths of the images, which are resized, whole, to a square.
    masks : ImageMasks
        Where masks come from.
    image_size : int
        Side of the resized images in pixels.
    kept : bool, default False
        Whether to read all masks now and keep them: files x image_size x image_size bytes.

    Raises
    ------
    ArgumentError
        If an image has no mask, or one of the first few cannot be used.
    CellMixDaliError
        If one of them cannot be read.
    """

    def __init__(self, images: Sequence[str], masks: ImageMasks, image_size: int, *, kept: bool = False) -> None:
        if not isinstance(masks, ImageMasks):
            raise ArgumentError(f"masks={masks!r}: image files take ImageMasks(folder).")
        self._images, self._masks, self._size = list(images), masks, image_size
        self._files = masks.files_of(self._images)
        self._kept: list[NDArray[np.uint8]] | None = None
        everything = np.arange(len(self._files))
        read = self.read(everything if kept else everything[:_LOOKED_AT])
        if kept:
            self._kept = read

    def read(self, items: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Read masks, each uint8 (image_size, image_size, 1).

        Parameters
        ----------
        items : int64 array (n,)
            Places of the images in their list.

        Raises
        ------
        ArgumentError
            If a mask cannot be used: it is of other proportions, of colours, or has other values.
        CellMixDaliError
            If one cannot be read.
        """
        if self._kept is not None:
            return [self._kept[item] for item in items.tolist()]
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(self._mask, items.tolist()))

    def told(self) -> str:
        """Return where masks come from, in a word, by which states of loaders are told apart."""
        return self._masks.told()

    def _mask(self, item: int) -> NDArray[np.uint8]:
        """The mask of an image."""
        file = self._files[item]
        classes = _classes(file)
        height, width = classes.shape
        shown = _size_of(self._images[item])
        if shown is not None and abs(width * shown[1] - height * shown[0]) > max(*shown, width, height):
            raise ArgumentError(
                f"The mask {file} has {width} x {height} pixels, its image {self._images[item]} {shown[0]} x "
                f"{shown[1]}: they do not show the same."
            )
        middles = np.arange(self._size) + 0.5
        rows, columns = ((middles * side / self._size).astype(np.int64) for side in (height, width))
        chosen: NDArray[np.uint8] = classes[np.ix_(rows, columns)]
        # All of the file, not what is chosen alone: whether a mask is right must not depend on the size.
        counts = np.bincount(classes.reshape(-1), minlength=IGNORED + 1)
        wrong = np.flatnonzero(counts[self._masks.values : IGNORED]) + self._masks.values
        if wrong.size:
            raise ArgumentError(
                f"The mask {file} has the value {int(wrong[0])}: values go from 0 to {self._masks.values - 1}, and "
                f"{IGNORED} is ignored. Give ImageMasks(..., values=...), or correct the mask."
            )
        return chosen[..., None]


def _classes(file: Path) -> NDArray[np.uint8]:
    """The values of a mask's pixels, as they are stored."""
    try:
        with Image.open(file) as image:
            if image.format != "PNG" or image.mode not in _CLASSES_OF_MODES:
                raise ArgumentError(
                    f"The mask {file} is a {image.format} of mode {image.mode}: give a PNG of grey values (8 bits), of "
                    "a palette, or in black and white; its values are classes."
                )
            return np.asarray(image).astype(np.uint8)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise CellMixDaliError(f"The mask {file} cannot be read ({error}): replace it.") from error


def _size_of(image: str) -> tuple[int, int] | None:
    """Width and height of an image; None where only DALI knows its format."""
    try:
        with Image.open(image) as opened:
            return opened.size
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        return None
