"""Bags for learning on slides: all tiles of a slide, or of a patient, as one sample.

A bag's tiles come from a kind of `Bags`: features that were written before (`FeatureBags`), or pixels (`TileBags`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._arguments import integer
from .._random import generator
from ..errors import ArgumentError, some_of, unknown_name
from ..pipelines import read_table
from ..storage.objects import asked_for
from ..storage.paths import home_expanded
from ..tables.slide_list import SlideList
from ..tables.tile_table import TileTable, require_table
from .ahead import Ahead
from .files import name_of, read_features, suffixes

__all__ = ["BagLoader", "Bags", "FeatureBags", "TileBags", "bag_loader"]

_ORDER, _CHOICE = 17, 18  # keep the draws apart from others under one seed
_AHEAD = 2  # batches


class Bags(ABC):
    """Where the tiles of slides come from.

    Attributes
    ----------
    names : tuple of str
        Of the slides: their files' names without suffix.
    """

    names: tuple[str, ...]

    @abstractmethod
    def count(self, number: int) -> int:
        """Return how many tiles a slide has."""

    @abstractmethod
    def read(self, number: int, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return what is known of some tiles of a slide, (n, ...), and their places (n, 2)."""


class FeatureBags(Bags):
    """Slides whose features were written before.

    Parameters
    ----------
    folder : str or Path
        With a file per slide, as `cellmix_dali.embedding.read_features` takes it; or CLAM's, with ``h5_files`` in it.
    kept_bytes : int, default 2**30
        So many bytes of features are kept in memory once they were read; the rest is read again in every epoch.

    Raises
    ------
    ArgumentError
        If there are none.
    """

    def __init__(self, folder: str | Path, *, kept_bytes: int = 1 << 30) -> None:
        self._left = integer("kept_bytes", kept_bytes, low=0)
        place = asked_for(home_expanded(folder))
        inner = asked_for(place / "h5_files")
        place = inner if inner.is_dir() else place
        self._files = tuple(sorted({path for suffix in suffixes() for path in place.glob(f"*{suffix}")}))
        if not self._files:
            raise ArgumentError(f"There are no features in {place}: make them with `cellmix-dali embed`.")
        self.names = tuple(map(name_of, self._files))
        self._counts: dict[int, int] = {}
        self._kept: dict[int, tuple[NDArray[Any], NDArray[np.int64]]] = {}

    def count(self, number: int) -> int:  # noqa: D102
        if number not in self._counts:
            self._of(number)
        return self._counts[number]

    def read(self, number: int, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:  # noqa: D102
        features, coords = self._of(number)
        return features[rows], coords[rows]

    def _of(self, number: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        if number in self._kept:
            return self._kept[number]
        found = read_features(self._files[number])
        self._counts[number] = len(found[0])
        size = sum(each.nbytes for each in found)
        if size <= self._left:
            self._left -= size
            self._kept[number] = found
        return found


class TileBags(Bags):
    """Slides whose tiles come as pixels, uint8 (n, 3, tile_size, tile_size), with places in pixels of their level.

    Parameters
    ----------
    table : TileTable
        The tiles.
    tile_size : int, optional
        Side of the images in pixels; by default that of the windows.
    """

    def __init__(self, table: TileTable, tile_size: int | None = None) -> None:
        require_table(table)
        self._table, self._size = table, tile_size
        self._rows = [np.flatnonzero(table.slide == number) for number in range(len(table.slides))]
        self.names = tuple(Path(path).stem for path in table.slides)

    def count(self, number: int) -> int:  # noqa: D102
        return len(self._rows[number])

    def read(self, number: int, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:  # noqa: D102
        chosen = self._table.select(self._rows[number][rows])
        return read_table(chosen, self._size).transpose(0, 3, 1, 2), chosen.positions


class BagLoader:
    """Goes through bags, a batch at a time, read ahead by a thread; see `bag_loader`.

    Attributes
    ----------
    names : tuple of str
        Of the bags: slides, or patients.
    epoch : int
        Of the next pass; counts up by itself.
    """

    def __init__(
        self,
        bags: Bags,
        groups: Mapping[str, Sequence[int]],
        labels: Mapping[str, int],
        *,
        batch_size: int,
        most_tiles: int | None,
        form: Literal["padded", "packed"],
        shuffle: bool,
        seed: int,
    ) -> None:
        self.names = tuple(groups)
        self.epoch = 0
        self._bags, self._groups, self._labels = bags, groups, labels
        self._batch_size, self._most, self._form = batch_size, most_tiles, form
        self._shuffle, self._seed = shuffle, seed

    def __len__(self) -> int:
        """Batches per pass."""
        return -(-len(self.names) // self._batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Go through one epoch.

        Yields
        ------
        dict
            ``bag`` names, list of str; ``label`` int64 (batch,), -1 without one; ``tiles`` int64 (batch,), how many
            each bag has. Padded: ``features`` (batch, tiles, ...) and ``coords`` int64 (batch, tiles, 2) of the largest
            bag's length, zero where ``mask``, bool (batch, tiles), is False. Packed: ``features`` (all tiles, ...),
            ``coords``, and ``offsets`` int64 (batch + 1,), where each bag begins.
        """
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = np.arange(len(self.names))
        if self._shuffle:
            order = generator(self._seed, epoch=epoch, stream=_ORDER).permutation(order)
        batches = Ahead(self._batches(order, epoch), _AHEAD)
        try:
            yield from batches
        finally:
            batches.close()

    def _batches(self, order: NDArray[np.int64], epoch: int) -> Iterator[dict[str, Any]]:
        for first in range(0, len(order), self._batch_size):
            chosen = order[first : first + self._batch_size].tolist()
            found = [self._bag(number, epoch) for number in chosen]
            names = [self.names[number] for number in chosen]
            lengths = torch.tensor([len(features) for features, _ in found])
            batch: dict[str, Any] = {
                "bag": names,
                "label": torch.tensor([self._labels.get(name, -1) for name in names]),
                "tiles": lengths,
            }
            features, coords = ([each[of] for each in found] for of in (0, 1))
            if self._form == "packed":
                batch |= {"features": torch.cat(features), "coords": torch.cat(coords)}
                batch["offsets"] = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
            else:
                pad = torch.nn.utils.rnn.pad_sequence
                batch |= {"features": pad(features, batch_first=True), "coords": pad(coords, batch_first=True)}
                batch["mask"] = torch.arange(int(lengths.max()))[None] < lengths[:, None]
            yield batch

    def _bag(self, number: int, epoch: int) -> tuple[Tensor, Tensor]:
        """A bag's tiles, those that are drawn where there are more than wanted."""
        slides = self._groups[self.names[number]]
        counts = [self._bags.count(slide) for slide in slides]
        rows = np.arange(sum(counts))
        if self._most is not None and len(rows) > self._most:
            random = generator(self._seed, epoch=epoch, iteration=number, stream=_CHOICE)
            rows = np.sort(random.choice(len(rows), self._most, replace=False))
        starts = np.cumsum([0, *counts])
        parts = []
        for slide, first, end in zip(slides, starts[:-1], starts[1:], strict=True):
            own = rows[(rows >= first) & (rows < end)] - first
            if len(own) or len(slides) == 1:
                parts.append(self._bags.read(slide, own))
        if not parts:
            parts.append(self._bags.read(slides[0], rows))
        features, coords = (np.concatenate([part[of] for part in parts]) for of in (0, 1))
        return torch.from_numpy(features), torch.from_numpy(coords)


def bag_loader(
    bags: Bags,
    slides: SlideList | None = None,
    *,
    group: Literal["slide", "patient"] = "slide",
    only: Sequence[str] | None = None,
    batch_size: int = 1,
    most_tiles: int | None = None,
    form: Literal["padded", "packed"] = "padded",
    shuffle: bool = False,
    seed: int = 0,
) -> BagLoader:
    """Make the loader of bags.

    Parameters
    ----------
    bags : Bags
        Where tiles come from.
    slides : SlideList, optional
        Labels and patients, see `cellmix_dali.tables.read_slide_list`; a slide belongs to the bag of its file's name.
        Slides without tiles are left out; so are bags that are not in the list.
    group : {"slide", "patient"}, default "slide"
        What a bag is. Slides of one patient must have one label.
    only : sequence of str, optional
        Names of the bags to go through, such as those of one fold; by default all.
    batch_size : int, default 1
        Bags per batch.
    most_tiles : int, optional
        Of larger bags so many tiles are drawn, others in every epoch: a pure function of seed, epoch and bag.
    form : {"padded", "packed"}, default "padded"
        How bags of several lengths are put together, see `BagLoader`.
    shuffle : bool, default False
        Whether bags come in another order in every epoch.
    seed : int, default 0

    Returns
    -------
    BagLoader

    Raises
    ------
    ArgumentError
        If an argument cannot be used, no bag is left, or slides of a patient have several labels.
    """
    integer("batch_size", batch_size, low=1)
    integer("seed", seed, low=0)
    if most_tiles is not None:
        integer("most_tiles", most_tiles, low=1)
    for name, value, allowed in (("group", group, ("slide", "patient")), ("form", form, ("padded", "packed"))):
        if value not in allowed:
            raise unknown_name(name, value, allowed)
    groups: dict[str, list[int]] = {}
    labels: dict[str, int] = {}
    number_of = {name: number for number, name in enumerate(bags.names) if bags.count(number)}
    if slides is None:
        if group == "patient":
            raise ArgumentError("group='patient' without slides: the list of slides says whose they are.")
        groups = {name: [number] for name, number in number_of.items()}
    elif group == "patient" and slides.patient is None:
        raise ArgumentError("group='patient': the list of slides has no column 'patient'.")
    else:
        for row, path in enumerate(slides.slides):
            if path.stem not in number_of:
                continue
            name = path.stem if slides.patient is None or group == "slide" else slides.patient[row]
            groups.setdefault(name, []).append(number_of[path.stem])
            if slides.labels is not None:
                label = int(slides.labels[row])
                if labels.setdefault(name, label) != label:
                    raise ArgumentError(f"The slides of patient {name} have several labels: give each patient one.")
    if only is not None:
        missing = sorted(set(only) - set(groups))
        if missing:
            raise ArgumentError(f"only: there are no bags {some_of(missing)}.")
        groups = {name: groups[name] for name in groups if name in set(only)}
    if not groups:
        raise ArgumentError(
            f"No bag is left: the tiles are of {some_of(bags.names)}, and the list of slides names none of them."
        )
    return BagLoader(
        bags,
        groups,
        labels,
        batch_size=batch_size,
        most_tiles=most_tiles,
        form=form,
        shuffle=shuffle,
        seed=seed,
    )
