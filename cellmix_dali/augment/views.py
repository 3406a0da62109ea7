"""Views: crops of one decoded region, each with augmentations of its own, as self-supervised training wants them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import integer
from cellmix_dali.errors import ArgumentError, unknown_name
from cellmix_dali.plugins import Augment
from cellmix_dali.plugins.view_nodes import GEOMETRY

from ._checks import between
from .base import Augmentation, ColourChange, Compose
from .blur import GaussianBlur
from .colour_jitter import ColourJitter
from .flips import Flip
from .geometry import RandomResizedCrop
from .greyscale import Greyscale
from .recipe import AugmentLike, augmentation
from .solarise import Solarise

__all__ = ["VIEW_PRESETS", "OnePass", "View", "ViewsLike", "views_of"]

_RESERVED = ("labels", "tile", "slide", "place", "mask")
_INTERPOLATIONS = ("linear", "cubic")


class OnePass(NamedTuple):
    """What one pass over the pixels of a view does.

    Attributes
    ----------
    flip : Flip or None
        At most one.
    before, after : tuple of ColourChange
        Changes of colour before the blur, and after it.
    blur : GaussianBlur or None
        At most one.
    """

    flip: Flip | None
    before: tuple[ColourChange, ...]
    blur: GaussianBlur | None
    after: tuple[ColourChange, ...]


@dataclass(frozen=True)
class View:
    """A view of a region: a random box of it, resized to a square, and augmented.

    Parameters
    ----------
    name : str, default "global"
        What batches call the views of this kind; several of one name, of one size, are handed over as one tensor.
    size : int, default 224
        Side of the view in pixels.
    count : int, default 1
        How many views of this kind are made of each region, each with draws of its own.
    scale : float or (float, float), optional
        The range of the box's area, as a share of the region's; by default (0.32, 1.0).
    zoom : float or (float, float), optional
        Instead of `scale`: the range of the box's side in pixels of the region per pixel of the view. Around 1 from a
        region larger than the view, pixels keep their size and the view moves within its surroundings: Virchow2's
        "extended-context translation".
    ratio : float or (float, float), default (3/4, 4/3)
        The range of the box's width over its height; its logarithm is drawn evenly.
    augment : str, recipe, Augmentation or callable, optional
        What changes the view then, see `cellmix_dali.augment.augmentation`. A flip, changes of colour and one blur, in
        any order, are worked out in the pass that crops, resizes and normalises; with others the view is made by
        operators one after the other.
    interpolation : {"linear", "cubic"}, default "linear"
        The filter that resizes the box, always as wide as the pixels are apart where it becomes smaller: torchvision's
        ``RandomResizedCrop`` with ``antialias=True``, its default, with "linear" its default, too.

    Raises
    ------
    ArgumentError
        If a value cannot be used.
    """

    name: str = "global"
    size: int = 224
    _: KW_ONLY
    count: int = 1
    scale: float | Sequence[float] | None = None
    zoom: float | Sequence[float] | None = None
    ratio: float | Sequence[float] = (3 / 4, 4 / 3)
    augment: AugmentLike | None = None
    interpolation: str = "linear"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier() or self.name in _RESERVED:
            raise ArgumentError(
                f"A view cannot be named {self.name!r}: give a name of letters and digits, none of {_RESERVED}."
            )
        for name in ("size", "count"):
            object.__setattr__(self, name, integer(name, getattr(self, name), low=1))
        if self.scale is not None and self.zoom is not None:
            raise ArgumentError(f"scale={self.scale!r} and zoom={self.zoom!r} say the same twice: give only one.")
        if self.zoom is not None:
            object.__setattr__(self, "zoom", between("zoom", self.zoom, 1e-2, 1e2))
        else:
            scale = (0.32, 1.0) if self.scale is None else self.scale
            object.__setattr__(self, "scale", between("scale", scale, 1e-3, 1.0))
        object.__setattr__(self, "ratio", between("ratio", self.ratio, 1e-2, 1e2))
        if self.interpolation not in _INTERPOLATIONS:
            raise unknown_name("interpolation", self.interpolation, _INTERPOLATIONS)
        if self.augment is not None:
            object.__setattr__(self, "augment", augmentation(self.augment))

    def crop_of(self, region: int) -> RandomResizedCrop:
        """Return the draw of boxes of a region of so many pixels.

        Raises
        ------
        ArgumentError
            If the region is smaller than the largest box.
        """
        if self.zoom is None:
            assert self.scale is not None
            return RandomResizedCrop(scale=self.scale, ratio=self.ratio)
        low, high = (float(end) * self.size for end in self.zoom)  # type: ignore[union-attr]
        widest = max(float(self.ratio[1]), 1 / float(self.ratio[0])) ** 0.5  # type: ignore[index]
        if high * widest > region:
            raise ArgumentError(
                f"View {self.name!r} takes boxes of up to {math.ceil(high * widest)} pixels, the region has {region}: "
                f"use tiles of at least {math.ceil(high * widest)} pixels, or a smaller zoom."
            )
        return RandomResizedCrop(scale=((low / region) ** 2, (high / region) ** 2), ratio=self.ratio)

    def one_pass(self) -> OnePass | None:
        """Return what is worked out in one pass; None where the augmentations need more than one."""
        flip: Flip | None = None
        blur: GaussianBlur | None = None
        before: list[ColourChange] = []
        after: list[ColourChange] = []
        for change in _steps(self.augment):
            if isinstance(change, ColourChange):
                (before if blur is None else after).append(change)
            elif type(change) is Flip and flip is None:
                flip = change
            elif type(change) is GaussianBlur and blur is None:
                blur = change
            else:
                return None
        return OnePass(flip, tuple(before), blur, tuple(after))

    def geometry(self, region: int, random: np.random.Generator, samples: int, strength: float) -> NDArray[np.float64]:
        """Draw boxes, in whole pixels, and flips and blurs as far as they are made in one pass.

        Returns
        -------
        float64 array (samples, GEOMETRY)
            See `cellmix_dali.plugins.view_nodes.GEOMETRY`.
        """
        drawn = np.zeros((samples, GEOMETRY))
        top, left, bottom, right, _ = self.crop_of(region).boxes(random, samples, strength).T
        for place, (start, end) in enumerate(((top, bottom), (left, right))):
            side = np.clip(np.rint((end - start) * region), 1, region)
            free, room = 1 - (end - start), region - side
            # Where it begins was drawn evenly from what is free: so are whole pixels.
            share = np.divide(start, free, out=np.zeros(samples), where=free > 0)
            drawn[:, place], drawn[:, 2 + place] = np.minimum(np.floor(share * (room + 1)), room), side
        made = self.one_pass()
        if made is None:
            return drawn
        if made.flip is not None:
            for place, chance in enumerate((made.flip.horizontal, made.flip.vertical)):
                drawn[:, 4 + place] = random.random(samples) < made.flip.p * chance
        if made.blur is not None:
            sigma = made.blur.numbers(random, samples, strength)[:, 0]
            drawn[:, 6] = np.where(random.random(samples) < made.blur.p, sigma, 0.0)
        return drawn


def _steps(augment: AugmentLike | None) -> list[Augmentation | Augment]:
    """What an augmentation does, one after the other."""
    if augment is None:
        return []
    if isinstance(augment, Compose):
        return [step for change in augment.changes for step in _steps(change)]
    return [augment]  # type: ignore[list-item]


def _colours(*, p: float = 0.8, hue: float = 36.0) -> list[Augmentation]:
    """The changes of colour of DINO and DINOv2."""
    return [ColourJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=hue, p=p), Greyscale(p=0.2)]


def _dino(sizes: tuple[int, int], middle: float, least: float, crops: int) -> tuple[View, ...]:
    """DINO's views: two large ones, of which the second is solarised, and some small ones."""
    across = Flip(horizontal=0.5, vertical=0.0)

    def sequence(blur: float, solarise: float) -> Compose:
        return Compose([across, *_colours(), GaussianBlur(p=blur), *([Solarise(p=solarise)] if solarise else [])])

    large = {"scale": (middle, 1.0), "interpolation": "cubic"}
    return (
        View("global", sizes[0], augment=sequence(1.0, 0.0), **large),  # type: ignore[arg-type]
        View("global", sizes[0], augment=sequence(0.1, 0.2), **large),  # type: ignore[arg-type]
        View(
            "local",
            sizes[1],
            count=crops,
            scale=(least, middle),
            augment=sequence(0.5, 0.0),
            interpolation="cubic",
        ),
    )


def _virchow2() -> tuple[View, ...]:
    """Views whose pixels keep their size, for regions of 392 pixels."""
    kept = {"zoom": (0.9, 1.1), "ratio": (0.95, 1.05), "interpolation": "cubic"}

    def sequence(blur: float, solarise: float) -> Compose:
        return Compose([Flip(), *_colours(), GaussianBlur(p=blur), *([Solarise(p=solarise)] if solarise else [])])

    return (
        View("global", 224, augment=sequence(1.0, 0.0), **kept),  # type: ignore[arg-type]
        View("global", 224, augment=sequence(0.1, 0.2), **kept),  # type: ignore[arg-type]
        View("local", 98, count=8, augment=sequence(0.5, 0.0), **kept),  # type: ignore[arg-type]
    )


#: Ready-made views. Probabilities and ranges are the authors'; a hue of 0.1 of theirs is 36 degrees.
VIEW_PRESETS: dict[str, tuple[View, ...]] = {
    # Caron et al., DINO (arXiv 2104.14294).
    "dino": _dino((224, 96), 0.4, 0.05, 8),
    # Oquab et al., DINOv2 (arXiv 2304.07193); 98 pixels are 7 patches of 14.
    "dinov2": _dino((224, 98), 0.32, 0.05, 8),
    # Zimmermann et al., Virchow2 (arXiv 2408.00738): extended-context translation, flips both ways.
    "virchow2": _virchow2(),
    # Chen et al., SimCLR (arXiv 2002.05709), at a strength of 1.
    "simclr": (
        View(
            "view",
            224,
            count=2,
            scale=(0.08, 1.0),
            augment=Compose(
                [
                    Flip(horizontal=0.5, vertical=0.0),
                    ColourJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=72, p=0.8),
                    Greyscale(p=0.2),
                    GaussianBlur(sigma=(0.1, 2.0), p=0.5),
                ]
            ),
            interpolation="cubic",
        ),
    ),
    # He et al., MAE (arXiv 2111.06377).
    "mae": (
        View("view", 224, scale=(0.2, 1.0), augment=Flip(horizontal=0.5, vertical=0.0), interpolation="cubic"),
    ),
}  # fmt: skip

#: What `views_of` makes views of.
ViewsLike: TypeAlias = "str | View | Sequence[View]"


def views_of(given: ViewsLike, region: int) -> tuple[View, ...]:
    """Return views, however they are described.

    Parameters
    ----------
    given : str, View or sequence of View
        A name of `VIEW_PRESETS`, or the views.
    region : int
        Side of the regions in pixels.

    Raises
    ------
    ArgumentError
        If there are none, two of one name are of different sizes, or one does not fit the region.
    """
    if isinstance(given, str):
        if given not in VIEW_PRESETS:
            raise unknown_name("views", given, tuple(VIEW_PRESETS))
        return views_of(VIEW_PRESETS[given], region)
    views: tuple[View, ...] = (given,) if isinstance(given, View) else ()
    if isinstance(given, Sequence) and not isinstance(given, str):
        views = tuple(given)
    if not views or not all(isinstance(view, View) for view in views):
        raise ArgumentError(f"views={given!r}: give a preset ({', '.join(VIEW_PRESETS)}), or View(...)s, at least one.")
    sizes: dict[str, int] = {}
    for view in views:
        view.crop_of(region)
        if sizes.setdefault(view.name, view.size) != view.size:
            raise ArgumentError(
                f"Views named {view.name!r} are of {sizes[view.name]} and {view.size} pixels: views of one name are "
                "one tensor. Name them differently."
            )
    return views
