"""The table of slides' fitted stains, ``stains.parquet``: its columns, writing, opening, and what it is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from .._arguments import path_of
from ..errors import ArgumentError, unknown_name
from ..slides.identity import slide_identity
from ..storage.aside import write_aside
from ..storage.foreign_files import read_parquet, reading
from .change import MEDIAN, StainChange, StainChanges
from .fits import FITS, StainFit
from .methods import StainMethod, find_method
from .tile_colours import COUNT, TileColours, added

__all__ = ["MEDIAN", "SlideStain", "StainTable", "Target"]

#: What slides are normalised to: `MEDIAN`, a slide or a picture, a fit, or pixels.
Target = str | Path | StainFit | npt.NDArray[np.uint8]

_ABOUT, _FORMAT = b"cellmix_dali.stains", 1  # in the file's metadata
_SHOWN = 3  # slides that a message names
_MOST_PIXELS = 1 << 22  # of a picture that is the target: of a larger one, every so many are taken


def _numbers(count: int) -> pa.DataType:
    return pa.list_(pa.float64(), count)


_SCHEMA = pa.schema(
    [
        pa.field("slide", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("mpp", pa.float64()),
        pa.field("pixels", pa.int64(), nullable=False),
        pa.field("stains", _numbers(6)),
        pa.field("concentrations", _numbers(2)),
        pa.field("background", pa.float64()),
        pa.field("lab_mean", _numbers(3)),
        pa.field("lab_std", _numbers(3)),
        pa.field("tile_colours", _numbers(COUNT)),
        pa.field("fault", pa.string()),
        pa.field("fault_kind", pa.string()),
        pa.field("inputs", pa.string(), nullable=False),
    ]
)
_LATER = {"tile_colours"}  # columns that tables of former versions lack
# The column of each number of each kind of fit.
_COLUMNS = {
    "density": {name: name for name in ("stains", "concentrations", "background")},
    "lab": {"mean": "lab_mean", "std": "lab_std"},
}


@dataclass(frozen=True, eq=False)
class SlideStain:
    """One slide's row.

    Attributes
    ----------
    slide : str
        The slide's path, as the tile table has it.
    fit : StainFit or None
        Its stain; None where it could not be fitted.
    pixels : int
        Pixels that it was fitted to.
    mpp : float or None
        Their microns per pixel, where it is known.
    fault : str
        Why it could not be fitted.
    fault_kind : str
        "damaged" or "not read", see `cellmix_dali.reading.faults.Fault`; empty where it was fitted.
    colours : TileColours
        How the colours of its tiles are distributed.
    inputs : str
        State of the files that it was fitted to, as JSON: one that has changed is fitted again.
    """

    slide: str
    fit: StainFit | None = None
    pixels: int = 0
    mpp: float | None = None
    fault: str = ""
    fault_kind: str = ""
    inputs: str = ""
    colours: TileColours = field(default_factory=TileColours.none)

    @property
    def listed_mpp(self) -> float | None:
        """Microns per pixel of the slide's first level, where a list said it."""
        found: float | None = json.loads(self.inputs)["mpp"] if self.inputs else None
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values, by the names of the table's columns."""
        numbers = {} if self.fit is None else self.fit.to_json()
        columns = {} if self.fit is None else {_COLUMNS[self.fit.kind][name]: of for name, of in numbers.items()}
        if "stains" in columns:
            columns["stains"] = [number for stain in columns["stains"] for number in stain]
        return {
            "slide": self.slide,
            "mpp": self.mpp,
            "pixels": self.pixels,
            **columns,
            "tile_colours": self.colours.numbers,
            "fault": self.fault or None,
            "fault_kind": self.fault_kind or None,
            "inputs": self.inputs,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SlideStain:
        """Read what `to_json` gave, or a row of a table.

        Raises
        ------
        ArgumentError, LookupError, TypeError, ValueError
            If it is none.
        """
        if values["inputs"]:
            _ = json.loads(values["inputs"])["mpp"]
        fit = None
        for kind, columns in _COLUMNS.items():
            numbers = {name: of for name, column in columns.items() if (of := values.get(column)) is not None}
            if len(numbers) == len(columns):
                fit = FITS[kind](**{name: np.reshape(of, FITS[kind].shapes[name]) for name, of in numbers.items()})
        return cls(
            slide=values["slide"],
            fit=fit,
            pixels=int(values["pixels"]),
            mpp=values["mpp"],
            fault=values["fault"] or "",
            fault_kind=values["fault_kind"] or "",
            inputs=values["inputs"],
            colours=TileColours.read(values.get("tile_colours")),
        )


class StainTable:
    """The stains of a collection's slides, all fitted by one method.

    Parameters
    ----------
    rows : sequence of SlideStain
        In the order of the slides, which are all different.
    settings : mapping
        What was asked for, as JSON values: `StainSettings.to_json`.

    Raises
    ------
    ArgumentError
        If a slide is there twice, a row has neither a fit nor a fault, or fits are of several kinds.
    """

    def __init__(self, rows: Sequence[SlideStain], settings: Mapping[str, Any]) -> None:
        self.rows, self.settings = tuple(rows), dict(settings)
        if not isinstance(self.settings.get("method"), str) or not isinstance(self.settings.get("parameters"), dict):
            raise ArgumentError("The table of stains does not say its method and parameters: fit the stains again.")
        self._places = {row.slide: place for place, row in enumerate(self.rows)}
        if len(self._places) < len(self.rows):
            raise ArgumentError("The table of stains has a slide twice: fit the stains again.")
        for row in self.rows:
            if (row.fit is None) == (not row.fault):
                raise ArgumentError(f"The stains of {row.slide} have a fit and a fault, or neither: fit them again.")
        if len({row.fit.kind for row in self.rows if row.fit is not None}) > 1:
            raise ArgumentError("The table of stains has fits of several kinds: fit the stains again.")
        self._by_identity: dict[object, int] | None = None

    @classmethod
    def open(cls, path: str | Path) -> StainTable:
        """Open the file that `cellmix-dali stain` wrote.

        Raises
        ------
        ArgumentError
            If there is no such file, or it is none of this kind.
        """
        place, remedy = path_of("A table of stains", path), "Make it by `cellmix-dali stain SLIDES --out`."
        table = read_parquet(place, "The table of stains", remedy)
        with reading(place, "The table of stains", remedy):
            about = json.loads((table.schema.metadata or {}).get(_ABOUT, b"null"))
            if not isinstance(about, dict):
                raise ValueError("it does not say that it is one")
            if about.get("format") != _FORMAT:
                raise ValueError(f"it is of format {about.get('format')!r}, not {_FORMAT}")
            for name in _LATER.difference(table.column_names):
                table = table.append_column(_SCHEMA.field(name), pa.nulls(len(table), _SCHEMA.field(name).type))
            missing = [name for name in _SCHEMA.names if name not in table.column_names]
            if missing:
                raise ValueError(f"it has no column {missing[0]!r}")
            rows = table.select(_SCHEMA.names).cast(_SCHEMA).to_pylist()
            return cls([SlideStain.from_json(row) for row in rows], about["settings"])

    def save(self, path: str | Path) -> None:
        """Write the table to a Parquet file, which is there in full or not at all.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        rows = [{"method": self.method_name, **row.to_json()} for row in self.rows]
        about = json.dumps({"format": _FORMAT, "settings": self.settings}).encode()
        table = pa.Table.from_pylist(rows, schema=_SCHEMA.with_metadata({_ABOUT: about}))
        with write_aside(Path(path)) as file:
            pq.write_table(table, file, compression="zstd")

    @property
    def method_name(self) -> str:
        """The name of the method that fitted all stains."""
        return str(self.settings["method"])

    @property
    def method(self) -> StainMethod:
        """That method, with its parameters."""
        return find_method(self.method_name, self.settings["parameters"])

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        fitted = sum(row.fit is not None for row in self.rows)
        return f"<StainTable: {fitted} of {len(self)} slides fitted by {self.method_name}>"

    def row_of(self, slide: str | os.PathLike[str]) -> SlideStain:
        """Return a slide's row: found by its path, or by what is the same for all files of one slide (links, DICOM).

        Raises
        ------
        ArgumentError
            If the table has no such slide.
        """
        name = os.fspath(slide)
        place = self._places.get(name, self._places.get(str(Path(name).absolute())))
        if place is None:
            if self._by_identity is None:
                self._by_identity = {slide_identity(row.slide): number for number, row in enumerate(self.rows)}
            place = self._by_identity.get(slide_identity(name))
        if place is None:
            raise ArgumentError(
                f"The table of stains has no slide {name}: fit the stains of all slides, with "
                "`cellmix-dali stain SLIDES --resume`."
            )
        return self.rows[place]

    def target(self, of: Target = MEDIAN) -> StainFit:
        """Return what to normalise to.

        Parameters
        ----------
        of : str, Path, StainFit or uint8 array (height, width, 3), default "median"
            "median" of all fitted slides; a slide of the table, by its path; a picture, or the path of one, of tissue
            alone at the resolution of the table, which is fitted by the table's method (of more than 4 million pixels,
            every so many); or a fit.

        Returns
        -------
        StainFit

        Raises
        ------
        ArgumentError
            If no slide is fitted, the slide was not, or the picture cannot be read or fitted.
        """
        if isinstance(of, StainFit):
            return of
        if isinstance(of, np.ndarray):
            return self._fit_to(of)
        if str(of) == MEDIAN:
            fits = [row.fit for row in self.rows if row.fit is not None]
            if not fits:
                raise ArgumentError(f"None of the {len(self)} slides has a fitted stain: give a picture as the target.")
            return type(fits[0]).median(fits)
        path = path_of("The target of stain normalisation", of)
        if str(path) in self._places or str(path.absolute()) in self._places:
            return self._fit_of(self.row_of(path))
        what = "The target of stain normalisation"
        remedy = f"Give a picture of tissue, a slide of the table, or {MEDIAN!r}."
        with reading(path, what, remedy), Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        try:
            return self._fit_to(pixels)
        except ArgumentError as error:
            raise ArgumentError(f"{path}: {error}") from error

    def templates(self) -> list[Mapping[str, Any]]:
        """Return how colours of the slides' tiles are distributed, as `cellmix_dali.augment.RandStainNA` takes it.

        Returns
        -------
        list of mapping
            For LAB, HSV and HED what RandStainNA's own preparation writes: of each channel the mean and deviation of
            the tiles' means ("avg") and of their deviations ("std"). Every tile that was read counts alike.

        Raises
        ------
        ArgumentError
            If no tile was measured: the table was written by a former version.
        """
        colours = added(row.colours for row in self.rows)
        if not colours.tiles:
            raise ArgumentError(
                f"None of the {len(self)} slides in the table of stains has the colours of its tiles: fit the stains "
                "again, with `cellmix-dali stain SLIDES --overwrite`."
            )
        return colours.templates()

    def changes(
        self,
        slides: Sequence[str | os.PathLike[str]],
        target: Target = MEDIAN,
        *,
        unfitted: Literal["raise", "keep"] = "raise",
    ) -> StainChanges:
        """Return what normalises each of some slides, such as those of a tile table.

        ``stains.changes(table.slides).matrices[table.slide[rows]]`` is then what each row of a batch takes.

        Parameters
        ----------
        slides : sequence of path-like (n,)
            In any order.
        target : str, Path, StainFit or uint8 array, default "median"
            See `target`.
        unfitted : {"raise", "keep"}, default "raise"
            Slides whose stain could not be fitted: refused, or left as they are.

        Returns
        -------
        StainChanges
            One of each slide, in that order.

        Raises
        ------
        ArgumentError
            If the table lacks a slide, the target cannot be had, or with ``unfitted="raise"`` one could not be fitted.
        """
        if unfitted not in ("raise", "keep"):
            raise unknown_name("unfitted", unfitted, ("raise", "keep"))
        wanted = self.target(target)
        rows = [self.row_of(slide) for slide in slides]
        faulty = [row for row in rows if row.fit is None]
        if faulty and unfitted == "raise":
            told = " ".join(row.fault for row in faulty[:_SHOWN])
            raise ArgumentError(
                f"{len(faulty)} of {len(rows)} slides have no fitted stain. {told} Leave them out, or leave their "
                "colours as they are (unfitted='keep')."
            )
        kept = StainChange.identity(wanted.kind)
        found = [kept if row.fit is None else row.fit.change_to(wanted) for row in rows]
        matrices = np.array([change.matrix for change in found]).reshape(-1, 3, 3)
        return StainChanges(wanted.kind, matrices, np.array([change.offset for change in found]).reshape(-1, 3))

    def _fit_to(self, picture: npt.NDArray[np.uint8]) -> StainFit:
        """A picture's fit, in bounded memory."""
        step = -(-(picture.size // 3) // _MOST_PIXELS)
        whole = step <= 1 or picture.ndim != 3 or picture.shape[2] != 3
        return self.method.fit(picture if whole else picture.reshape(-1, 3)[::step])

    def _fit_of(self, row: SlideStain) -> StainFit:
        """A slide's fit; refused where there is none."""
        if row.fit is None:
            raise ArgumentError(f"{row.slide} cannot be the target, as its stain could not be fitted. {row.fault}")
        return row.fit
