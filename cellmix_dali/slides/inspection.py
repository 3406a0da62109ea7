"""What there is to know of a slide before training on it, for programs and for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .._urls import place_name
from . import Level, open_slide
from .formats import FORMATS
from .resolution import check_resolution, mpp_problem, objective_power, slide_mpp
from .stream_kinds import DecoderRoute, stream_kind

__all__ = ["add_decoders", "add_times", "inspect_slide", "inspection_table"]


def inspect_slide(path: str | Path, *, mpp_override: float | None = None) -> dict[str, Any]:
    """Say what a slide file holds, and how it will be read.

    Parameters
    ----------
    path : str or Path
        The slide file.
    mpp_override : float, optional
        Microns per pixel of its first level, whatever the file says.

    Returns
    -------
    dict
        Plain values, ready for JSON:

        - ``path``, ``format`` (our name of the format), ``vendor`` (OpenSlide's or None), ``route``
          ("direct" or "openslide") and ``reason``, a sentence that says why;
        - ``direct_since``: the version since which blocks of this format are read directly, or None; ``tested``: what
          the format was tested with, or None;
        - ``mpp``: microns per pixel of level 0 that counts, None where the file's cannot be used; ``mpp_file``: what
          the file says, [across, down] or None; ``mpp_problem``: what is wrong with that, a sentence or None;
        - ``objective_power``: magnification of level 0 or None;
        - ``notes``: sentences on levels that have another scale than their size says, or were left out;
        - ``bounds``: {x, y, width, height} of the region that is not empty, in pixels of level 0;
        - ``levels``: one dict each of ``level``, ``width``, ``height`` (pixels), ``downsample``, ``mpp``, and, None on
          the openslide route, ``block_width``, ``block_height`` (pixels), ``columns``, ``rows``, ``blocks`` (how many),
          ``compression`` and ``colour``.

    Raises
    ------
    SlideError
        If there is no such slide, or it cannot be read.
    ArgumentError
        If `mpp_override` is out of range.
    """
    check_resolution(1, mpp_override=mpp_override)
    with open_slide(path) as slide:
        problem = mpp_problem(slide)
        known = mpp_override is not None or problem is None
        mpp = slide_mpp(slide, mpp_override) if known else None
        said = None if slide.mpp is None else [v if math.isfinite(v) else None for v in slide.mpp]
        bounds = slide.bounds
        return {
            "path": place_name(slide.path),
            "format": slide.format,
            "vendor": slide.vendor,
            "route": slide.route,
            "reason": slide.reason,
            "direct_since": FORMATS[slide.format].since or None,
            "tested": FORMATS[slide.format].tested or None,
            "mpp": mpp,
            "mpp_file": said,
            "mpp_problem": problem,
            "objective_power": objective_power(slide),
            "notes": list(slide.notes),
            "bounds": {"x": bounds.x, "y": bounds.y, "width": bounds.width, "height": bounds.height},
            "levels": [_level(number, level, mpp) for number, level in enumerate(slide.levels)],
        }


def _level(number: int, level: Level, mpp: float | None) -> dict[str, Any]:
    """One level as plain values."""
    blocks = None if level.columns is None or level.rows is None else level.columns * level.rows
    return {
        "level": number,
        "width": level.width,
        "height": level.height,
        "downsample": float(level.downsample),
        "mpp": None if mpp is None else mpp * level.downsample,
        "block_width": level.block_width,
        "block_height": level.block_height,
        "columns": level.columns,
        "rows": level.rows,
        "blocks": blocks,
        "compression": level.compression,
        "colour": level.colour,
    }


def add_decoders(info: dict[str, Any], device: str, routes: Mapping[str, DecoderRoute]) -> None:
    """Add to what `inspect_slide` found how a pipeline decodes each level.

    Parameters
    ----------
    info : dict
        As `inspect_slide` gives it. It gets ``device``, and each of its levels ``decoder``, "cpu" or "mixed", and
        ``decoder_reason``, for a person.
    device : {"cpu", "gpu"}
        Of the pipeline.
    routes : mapping of str to DecoderRoute
        See `cellmix_dali.slides.stream_kinds.decoder_routes`, for that device.
    """
    info["device"] = device
    for level in info["levels"]:
        route = routes[stream_kind(level["compression"], level["colour"])]
        level["decoder"], level["decoder_reason"] = route.decoder, route.reason


def add_times(info: dict[str, Any], times: Sequence[Mapping[str, Any]]) -> None:
    """Add to what `inspect_slide` found how long the ways of reading take.

    Parameters
    ----------
    info : dict
        As `inspect_slide` gives it. It gets ``reading``, a list of the times.
    times : sequence of mappings
        Each with ``way``, ``places``, ``milliseconds`` (of processor time a tile, or None) and ``note``: those of
        `cellmix_dali.pipelines.reading_times.ReadingTime`.
    """
    info["reading"] = [dict(time) for time in times]


def _times(times: Sequence[Mapping[str, Any]]) -> Table:
    """How long the ways of reading take, and how often OpenSlide's time goes into theirs."""
    table = Table("read", "places", "ms a tile", "times OpenSlide's speed", box=SIMPLE_HEAD)
    plain = {time["places"]: time["milliseconds"] for time in times if time["way"] == "openslide"}
    for time in times:
        own, other = time["milliseconds"], plain.get(time["places"])
        speed = "-" if not own or not other else f"{other / own:.2f}"
        table.add_row(
            time["way"], time["places"], f"{own:.3f}" if own else "-", Text(speed if own else str(time["note"]))
        )
    return table


def _decoders(info: dict[str, Any]) -> str:
    """How the levels are decoded, levels that are alike together."""
    alike: dict[str, list[int]] = {}
    for level in info["levels"]:
        alike.setdefault(level["decoder_reason"], []).append(level["level"])
    if len(alike) == 1:
        return next(iter(alike))
    return "; ".join(
        f"level{'s' * (len(levels) > 1)} {', '.join(map(str, levels))}: {reason}" for reason, levels in alike.items()
    )


def inspection_table(info: dict[str, Any]) -> RenderableType:
    """Lay out what `inspect_slide` found, for a terminal.

    Parameters
    ----------
    info : dict
        As `inspect_slide` gives it, with or without what `add_decoders` adds.

    Returns
    -------
    rich renderable
        For ``rich.console.Console().print``.
    """
    # Text, not strings: paths and reasons may hold brackets, which rich would take for markup.
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    bounds, first, power = info["bounds"], info["levels"][0], info["objective_power"]
    rows = [
        ("slide", info["path"]),
        ("format", info["format"] + (f" ({info['vendor']})" if info["vendor"] not in (None, info["format"]) else "")),
        ("read", f"{info['route']}: {info['reason']}"),
        ("direct", f"since {info['direct_since']}" if info["direct_since"] else "no, or since when is not said"),
        ("tested", info["tested"] or "not said"),
        ("mpp", "unknown" if info["mpp"] is None else f"{info['mpp']:.4g} microns per pixel"),
        ("objective power", "unknown" if power is None else f"{power:g}x"),
    ]
    if "device" in info:
        rows.insert(5, (f"decoder ({info['device']})", _decoders(info)))
    if (bounds["width"], bounds["height"]) != (first["width"], first["height"]):
        rows.append(("bounds", "{width} x {height} at {x}, {y}".format(**bounds)))
    for name, value in rows:
        facts.add_row(name, Text(value))
    if info["mpp_problem"] is not None:
        overridden = info["mpp"] is not None
        note = "overridden; the file: " if overridden else ""
        facts.add_row("mpp problem", Text(note + info["mpp_problem"], style="yellow" if overridden else "red"))
    for note in info["notes"]:
        facts.add_row("note", Text(f"{note}.", style="yellow"))
    levels = Table("level", "size", "downsample", "mpp", "block", "blocks", "code", "colour", box=SIMPLE_HEAD)
    for level in info["levels"]:
        direct = level["blocks"] is not None
        levels.add_row(
            str(level["level"]),
            f"{level['width']}x{level['height']}",
            f"{level['downsample']:.4g}",
            "-" if level["mpp"] is None else f"{level['mpp']:.4g}",
            f"{level['block_width']}x{level['block_height']}" if direct else "-",
            f"{level['columns']}x{level['rows']}" if direct else "-",
            level["compression"] or "-",
            level["colour"] or "-",
        )
    times = [_times(info["reading"])] if "reading" in info else []
    return Group(facts, Text(), levels, *times)
