"""Random places in tissue instead of a grid: a pure function of (seed, iteration, rank), without epochs."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .._arguments import integer, number
from .._random import generator
from ..errors import ArgumentError, unknown_name
from ..tissue.mask import share_in, summed
from .slide_tissue import SlideTissue, TintFilter

__all__ = ["Drawn", "PlaceSettings", "Places", "Shuffling", "slide_weights"]

_BY = ("area", "slide")
_PLACES, _ROUNDS, _VISITS = 5, 6, 7  # streams of random numbers
_TRIES = 16  # places that are drawn for a tile, of which the first is taken that has tissue enough
_KEPT = 256  # slides whose masks are kept unpacked
_FINER = 1.02  # a level may be so many times as coarse as asked


@dataclass(frozen=True)
class PlaceSettings:
    """Where places are drawn.

    Parameters
    ----------
    tile_size : int, default 448
        Side of the finished tiles in pixels.
    mpp : float, (float, float) or mapping of float to float, default 0.5
        Microns per pixel of the finished tiles: one; a range, of which the logarithm is drawn evenly; or several, with
        their shares. A slide that is too coarse for some of them gives the others, in their proportions.
    by : {"area", "slide"}, default "area"
        Whether each square millimetre of tissue is as likely as another, or each slide.
    tissue : float, default 0.5
        Least share of tissue in a tile.
    tint : TintFilter, optional
        Least share of pixels of given colours; by default none is asked for.
    pool : int, default 64
        Of `patches_per_visit`: how many slides are in use at a time, on each rank.
    patches_per_visit : int, optional
        How many tiles a slide gives before another takes its place in the pool. By default every tile may be of any
        slide, which is the best order and opens the most files.

    Raises
    ------
    ArgumentError
        If a value cannot be used.
    """

    tile_size: int = 448
    _: KW_ONLY
    mpp: float | Sequence[float] | Mapping[float, float] = 0.5
    by: str = "area"
    tissue: float = 0.5
    tint: TintFilter | None = None
    pool: int = 64
    patches_per_visit: int | None = None

    def __post_init__(self) -> None:
        for name in ("tile_size", "pool", "patches_per_visit"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, integer(name, getattr(self, name), low=1))
        number("tissue", self.tissue, 0, 1)
        if self.by not in _BY:
            raise unknown_name("by", self.by, _BY)
        if isinstance(self.mpp, Mapping):
            shares = {
                number("mpp", mpp, 0, above_low=True): number("share", share, 0) for mpp, share in self.mpp.items()
            }
            if not sum(shares.values()):
                raise ArgumentError(f"mpp={self.mpp!r}: at least one share is above 0.")
            object.__setattr__(self, "mpp", dict(sorted(shares.items())))
        elif isinstance(self.mpp, Sequence):
            if len(self.mpp) != 2 or not number("mpp", self.mpp[0], 0, above_low=True) <= number("mpp", self.mpp[1], 0):
                raise ArgumentError(
                    f"mpp={self.mpp!r}: give one number, a range (low, high), or shares {{mpp: share}}."
                )
            object.__setattr__(self, "mpp", (float(self.mpp[0]), float(self.mpp[1])))
        else:
            object.__setattr__(self, "mpp", {number("mpp", self.mpp, 0, above_low=True): 1.0})

    def told(self) -> dict[str, Any]:
        """Return all settings as plain values."""
        mpp = list(map(list, self.mpp.items())) if isinstance(self.mpp, Mapping) else list(self.mpp)  # type: ignore[arg-type]
        tint = None if self.tint is None else repr(self.tint)
        names = ("tile_size", "by", "tissue", "pool", "patches_per_visit")
        return {**{name: getattr(self, name) for name in names}, "mpp": mpp, "tint": tint}


class Drawn(NamedTuple):
    """Places of a batch, each an int64 array (batch,).

    Attributes
    ----------
    slide : array
        Number of the slide.
    level, x, y, size : arrays
        The window in pixels of the level.
    """

    slide: NDArray[np.int64]
    level: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    size: NDArray[np.int64]


class Shuffling(NamedTuple):
    """How well places are mixed, see `Places.shuffling`.

    Attributes
    ----------
    same_slide : float
        The chance that two tiles of a batch are of one slide.
    independent : float
        The same if every tile were drawn by itself: the least that there can be.
    slides_at_once : float
        Slides in use within a batch, on average.
    """

    same_slide: float
    independent: float
    slides_at_once: float


class _Maps(NamedTuple):
    # What is looked up in a slide's masks.
    places: NDArray[np.int64]  # numbers of the pixels with tissue
    sums: NDArray[np.int64]
    tinted: NDArray[np.int64] | None


class Places:
    """Draws places in the tissue of slides.

    Parameters
    ----------
    slides : sequence of SlideTissue
        The slides, see `cellmix_dali.sampling.tissue_of_slides`.
    settings : PlaceSettings, optional
        Where.
    weights : mapping of str to float, optional
        By what the chance of each slide is multiplied, by its path; 1 where it is not named. See `slide_weights`.
    labels : mapping of str to int, optional
        Weak labels: the class of each slide, by its path.
    class_weights : mapping of int to float, optional
        The share that each class has of all places, whatever its slides and their tissue; classes that are not named
        have none.

    Raises
    ------
    ArgumentError
        If there is no slide, an argument names one that is not there, or no slide can give places.
    """

    def __init__(
        self,
        slides: Sequence[SlideTissue],
        settings: PlaceSettings = PlaceSettings(),
        *,
        weights: Mapping[str, float] | None = None,
        labels: Mapping[str, int] | None = None,
        class_weights: Mapping[int, float] | None = None,
    ) -> None:
        self.settings, self.slides = settings, tuple(slides)
        if not self.slides:
            raise ArgumentError("There are no slides to draw places on: give at least one.")
        paths = [slide.path for slide in self.slides]
        for name, of in (("weights", weights), ("labels", labels)):
            missing = set(of or {}) - set(paths)
            if missing:
                raise ArgumentError(f"{name} name {len(missing)} slide(s) that are not there, such as {min(missing)}.")
        self.labels: NDArray[np.int64] | None = None
        if labels is not None:
            self.labels = np.array([labels.get(path, -1) for path in paths], np.int64)
        base = np.array([slide.area if settings.by == "area" else 1.0 for slide in self.slides])
        given = np.array([number("weight", (weights or {}).get(path, 1.0), 0) for path in paths])
        offered = np.array([self._offers(slide).sum() > 0 for slide in self.slides])
        chances = base * given * offered
        if class_weights is not None:
            chances = _by_class(chances, self.labels, class_weights)
        if not chances.sum():
            raise ArgumentError(
                f"None of {len(paths)} slides can give places: their weights are 0, or their finest level is coarser "
                f"than mpp={settings.mpp}."
            )
        self.chances: NDArray[np.float64] = chances / chances.sum()
        self._ends = np.cumsum(self.chances)
        self._maps = functools.lru_cache(_KEPT)(self._mapped)
        self._visit = functools.lru_cache(4096)(self._visited)

    def draw(self, seed: int, iteration: int, *, rank: int = 0, count: int, attempt: int = 0) -> Drawn:
        """Draw the places of one batch of a rank: the same whatever was drawn before, and wherever.

        Parameters
        ----------
        seed : int
            Of all draws.
        iteration, rank : int
            Which batch.
        count : int
            Tiles per batch.
        attempt : int, default 0
            Another draw for the same batch, where a tile cannot be read.
        """
        random = generator(seed, epoch=attempt, iteration=iteration, rank=rank, stream=_PLACES)
        chosen, scale = random.random(count), random.random(count)
        tries = random.random((count, _TRIES, 3))
        if self.settings.patches_per_visit is None or attempt:
            slide = self._of(chosen)
        else:
            slide = self._pooled(seed, rank, iteration * count + np.arange(count))
        drawn = np.zeros((5, count), np.int64)
        drawn[0] = slide
        for place in np.argsort(slide, kind="stable").tolist():
            drawn[1:, place] = self._window(int(slide[place]), float(scale[place]), tries[place])
        return Drawn(*drawn)

    def shuffling(self, batch_size: int, *, batches: int = 32, seed: int = 0) -> Shuffling:
        """Measure how well the tiles of a batch are mixed."""
        same, slides = [], []
        for iteration in range(batches):
            if self.settings.patches_per_visit is None:
                chosen = generator(seed, iteration=iteration, stream=_PLACES).random(batch_size)
                slide = self._of(chosen)
            else:
                slide = self._pooled(seed, 0, iteration * batch_size + np.arange(batch_size))
            counts = np.bincount(slide).astype(np.float64)
            same.append((counts * (counts - 1)).sum() / max(1, batch_size * (batch_size - 1)))
            slides.append(np.count_nonzero(counts))
        return Shuffling(float(np.mean(same)), float((self.chances**2).sum()), float(np.mean(slides)))

    def digest(self) -> str:
        """Return a short digest of the slides and their chances: with another one the draws are others."""
        told = repr([(slide.path, slide.levels, round(slide.area, 6)) for slide in self.slides]).encode()
        return hashlib.sha256(told + self.chances.tobytes()).hexdigest()[:16]

    def _of(self, chosen: NDArray[np.float64]) -> NDArray[np.int64]:
        """Slides by their chances."""
        found = np.searchsorted(self._ends, chosen * self._ends[-1], side="right")
        slides: NDArray[np.int64] = np.minimum(found, np.flatnonzero(self.chances)[-1]).astype(np.int64)
        return slides

    def _pooled(self, seed: int, rank: int, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slides of a rank's tiles, by their numbers since its first: each round asks every place of the pool once.

        The places of the pool change their slides one after the other, not all at once.
        """
        pool, stay = self.settings.pool, self.settings.patches_per_visit
        assert stay is not None
        turns, found = numbers // pool, np.empty(len(numbers), np.int64)
        for turn in np.unique(turns).tolist():
            own = turns == turn
            order = generator(seed, epoch=turn, rank=rank, stream=_ROUNDS).permutation(pool)[numbers[own] % pool]
            visits = (turn + order * stay // pool) // stay
            found[own] = [
                self._visit(seed, rank, place, visit)
                for place, visit in zip(order.tolist(), visits.tolist(), strict=True)
            ]
        return found

    def _visited(self, seed: int, rank: int, place: int, visit: int) -> int:
        """The slide that a place of the pool has on a visit."""
        random = generator(seed, epoch=visit, iteration=place, rank=rank, stream=_VISITS)
        return int(self._of(random.random(1))[0])

    def _offers(self, slide: SlideTissue) -> NDArray[np.float64]:
        """The shares of the resolutions that a slide can give."""
        finest, mpp = slide.levels[0][2] / _FINER, self.settings.mpp
        if isinstance(mpp, Mapping):
            return np.array([share if asked >= finest else 0.0 for asked, share in mpp.items()])
        assert isinstance(mpp, Sequence)
        return np.array([float(mpp[1] >= finest)])

    def _scale(self, slide: SlideTissue, drawn: float) -> float:
        """Microns per pixel of a tile."""
        mpp = self.settings.mpp
        if isinstance(mpp, Mapping):
            ends = np.cumsum(self._offers(slide))
            return list(mpp)[min(int(np.searchsorted(ends, drawn * ends[-1], side="right")), len(ends) - 1)]
        assert isinstance(mpp, Sequence)
        low, high = max(mpp[0], slide.levels[0][2] / _FINER), mpp[1]
        return float(low * (high / low) ** drawn)

    def _window(self, number: int, drawn: float, tries: NDArray[np.float64]) -> tuple[int, int, int, int]:
        """A window in the tissue: level, x, y and size."""
        slide, maps = self.slides[number], self._maps(number)
        mpp = self._scale(slide, drawn)
        level = max((n for n, of in enumerate(slide.levels) if of[2] <= mpp * _FINER), default=0)
        width, height, own = slide.levels[level]
        size = max(1, round(self.settings.tile_size * mpp / own))
        size = min(size, width, height)
        rows, columns = slide.shape
        pixel = maps.places[np.minimum((tries[:, 0] * maps.places.size).astype(np.int64), maps.places.size - 1)]
        # Anywhere within a pixel of the mask lies the middle of the tile.
        middle = (pixel % columns + tries[:, 1]) * width / columns, (pixel // columns + tries[:, 2]) * height / rows
        x = np.floor(middle[0] - size / 2).astype(np.int64).clip(0, width - size)
        y = np.floor(middle[1] - size / 2).astype(np.int64).clip(0, height - size)
        scale = width / columns, height / rows
        good = share_in(maps.sums, x, y, size, size, scale=scale)
        lacking = np.maximum(self.settings.tissue - good, 0)
        if maps.tinted is not None and self.settings.tint is not None:
            tinted = share_in(maps.tinted, x, y, size, size, scale=scale)
            lacking = lacking + np.maximum(self.settings.tint.share - tinted, 0)
        best = int(lacking.argmin())  # the first that lacks nothing, or the one that lacks the least
        return level, int(x[best]), int(y[best]), size

    def _mapped(self, number: int) -> _Maps:
        """What is looked up in a slide's masks."""
        slide = self.slides[number]
        mask = slide.mask()
        tinted = None if self.settings.tint is None else summed(slide.mask(tinted=True))
        return _Maps(np.flatnonzero(mask), summed(mask), tinted)


def _by_class(
    chances: NDArray[np.float64], labels: NDArray[np.int64] | None, shares: Mapping[int, float]
) -> NDArray[np.float64]:
    """Chances that give each class its share."""
    if labels is None:
        raise ArgumentError("class_weights need labels, the class of each slide.")
    found = np.zeros_like(chances)
    for label, share in shares.items():
        own = labels == label
        total = chances[own].sum()
        if not total:
            raise ArgumentError(f"class_weights name class {label}, of which no slide can give places.")
        found[own] = chances[own] * number("share", share, 0) / total
    return found


def slide_weights(path: str | Path, column: str, *, slide: str = "slide") -> dict[str, float]:
    """Read weights of slides from a Parquet file, such as those of a curation.

    Parameters
    ----------
    path : str or Path
        The file, with a row for each slide, or several, whose weights are added up.
    column : str
        Holds the weights.
    slide : str, default "slide"
        The column of the slides' paths.

    Returns
    -------
    dict of str to float
        What `Places` takes.

    Raises
    ------
    ArgumentError
        If the file cannot be read, lacks a column, or a weight is not a number of 0 or more.
    """
    try:
        table = pq.read_table(path, columns=[slide, column])
        names, values = table[slide].to_pylist(), table[column].to_pylist()
    except (OSError, KeyError, ValueError) as error:
        raise ArgumentError(
            f"Weights cannot be read from columns {slide!r} and {column!r} of {path} ({error})."
        ) from error
    found: dict[str, float] = {}
    for name, value in zip(names, values, strict=True):
        found[str(name)] = found.get(str(name), 0.0) + number(f"{column} of {name}", value, 0)
    return found
