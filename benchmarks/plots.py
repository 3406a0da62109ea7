"""Pictures of a benchmark's figures."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

from bench_file import AIMS, GPU_AIMS, Bench, aim_of, is_met, on_gpu
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from cellmix_dali.pictures._style import COLOURS

__all__ = ["PICTURES", "host_picture", "kernel_picture", "passes", "ratios_picture"]

_BLUE, _RED, _GREEN, _ORANGE, _GREY = COLOURS[0], COLOURS[1], COLOURS[2], COLOURS[3], COLOURS[5]


def _figure(width: float, height: float) -> Figure:
    """A figure of so many inches, with room at its edges."""
    figure = Figure(figsize=(width, height), layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(w_pad=0.12, h_pad=0.08)  # type: ignore[call-arg]
    return figure


def ratios_picture(bench: Bench) -> Figure | None:
    """Every ratio: its median, each round's figure as a dot, and its aim."""
    found = {key: value for key, value in bench["ratios"].items() if value is not None and key != "host_us_per_tile"}
    if not found:
        return None
    # Those with an aim first, else in the file's order.
    keys = sorted(found, key=lambda key: aim_of(bench, key) is None)
    figure = _figure(10, 1.5 + 0.27 * len(keys))
    axes = figure.subplots()
    for row, key in enumerate(keys):
        aim, value = aim_of(bench, key), found[key]
        colour = {None: _BLUE, True: _GREEN, False: _RED}[is_met(bench, key)]
        rounds = bench["rounds"].get(key, [])
        axes.plot(value, row, "D", color=colour, ms=8, zorder=3)
        axes.plot(rounds, [row] * len(rounds), "o", color=colour, ms=4.5, mec="white", mew=0.7, zorder=4)
        if aim is not None:
            axes.plot([aim, aim], [row - 0.42, row + 0.42], color="black", lw=2, zorder=2)
        axes.annotate(
            f"{value:.2f}", (1, row), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points",
            va="center", fontsize=8, color=colour,
        )  # fmt: skip
    for label, style in (
        ("median, aim met", {"marker": "D", "color": _GREEN}),
        ("median, aim missed", {"marker": "D", "color": _RED}),
        ("median, no aim", {"marker": "D", "color": _BLUE}),
        ("one round", {"marker": "o", "color": _GREY, "ms": 4.5}),
        ("aim", {"marker": "|", "color": "black", "ms": 11, "mew": 2}),
    ):
        axes.plot([], [], ls="none", label=label, **style)
    axes.axvline(1, color=_GREY, lw=0.8, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = axes.get_xlim()
    ticks = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if high > 4 * low else [tick / 10 for tick in range(1, 41)]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(keys)), keys, fontsize=8)
    axes.set_ylim(len(keys) - 0.4, -0.6)
    axes.set_xlabel("times as fast, logarithmic")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=8, ncols=5, frameon=False)
    return figure


class Pass(NamedTuple):
    """One setting of the mixing pass: what ran, to the GB/s of its median, and of its rounds where they are known."""

    name: str
    rates: dict[str, float]
    rounds: dict[str, list[float]]
    over_copy: float


def passes(bench: Bench) -> list[Pass]:
    """The mixing pass in all its settings."""
    found: list[Pass] = []
    for name, each in bench["other"].get("kernel alone", {}).items():
        rates = {way: each[f"{way}, GB/s"] for way in ("copy", "no plan", "mixing") if f"{way}, GB/s" in each}
        moved = {way: rate * statistics.median(each[f"{way}, ms"]) for way, rate in rates.items()}
        rounds = {way: [moved[way] / ms for ms in each[f"{way}, ms"]] for way in rates}
        found.append(Pass(name, rates, rounds, each["over_copy"]))
    return found


def kernel_picture(bench: Bench) -> Figure | None:
    """The mixing pass beside copying."""
    found = passes(bench)
    if not found:
        return None
    ways = list(found[0].rates)
    label = {
        "mixing": "mix, normalise, cast, HWC to CHW",
        "no plan": "the same without mixing",
        "copy": "copy on the device of as many bytes" if on_gpu(bench) else "numpy.copyto of the result, one thread",
    }
    colour = {"mixing": _BLUE, "no plan": _GREEN, "copy": _ORANGE}
    thick = 0.8 / len(ways)
    figure = _figure(10, 1.6 + (0.12 + 0.16 * len(ways)) * len(found))
    axes = figure.subplots()
    for number, way in enumerate(ways):
        places = [row + (number - (len(ways) - 1) / 2) * thick for row in range(len(found))]
        rates = [each.rates[way] for each in found]
        axes.barh(places, rates, thick * 0.92, color=colour[way], label=label[way])
        for place, each in zip(places, found, strict=True):
            rounds = each.rounds.get(way, [])
            axes.plot(rounds, [place] * len(rounds), "o", color="black", ms=2.5, alpha=0.5, mew=0)
    for row, each in enumerate(found):
        axes.annotate(
            f"{each.over_copy:.2f} of copying", (1, row), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(range(len(found)), [each.name for each in found], fontsize=8)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlabel("GB/s, read and written" if on_gpu(bench) else "GB/s of the result, float32")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", fontsize=8, ncols=3, frameon=False)
    return figure


def host_picture(bench: Bench) -> Figure | None:
    """The Python side of a batch by the number of reading threads."""
    beginning = "host, us per tile"
    groups = {key: figures for key, figures in bench["other"].items() if key.startswith(beginning)}
    if not groups:
        return None
    across = min(2, len(groups))
    down = -(-len(groups) // across)
    figure = _figure(9.6, 0.8 + 3.6 * down)
    every = figure.subplots(down, across, squeeze=False).ravel()
    for axes in every[len(groups) :]:
        axes.remove()
    for axes, (key, figures) in zip(every, groups.items(), strict=False):
        _host(axes, figures)
        axes.set_title(key.removeprefix(beginning).removeprefix(": ") or "blocks", fontsize=10)
        aim = GPU_AIMS["host_us_per_tile"] if on_gpu(bench) else AIMS["host_us_per_tile"]
        if "windows" not in key:  # the aim is that of blocks, which come first
            axes.axhline(aim, color="black", lw=1.5, label=f"aim of blocks: {aim:g}")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    for axes in every[: len(groups) : across]:
        axes.set_ylabel("microseconds per tile")
    handles, labels = every[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", fontsize=8, ncols=4, frameon=False)
    return figure


def _host(axes: Axes, figures: dict[str, dict[str, Any]]) -> None:
    """One kind of tiles."""
    source = re.compile(r"TileSource.__call__, (\d+) reading threads")
    threads = {int(match[1]): each for name, each in figures.items() if (match := source.fullmatch(name))}
    for what, marker, colour, label in (
        ("us", "o", _BLUE, "TileSource, by the clock"),
        ("cpu_us", "s", _ORANGE, "TileSource, processor time"),
    ):
        medians = [statistics.median(each[what]) for each in threads.values()]
        axes.plot(range(len(threads)), medians, marker + "-", color=colour, label=label)
        for place, each in enumerate(threads.values()):
            axes.plot([place] * len(each[what]), each[what], marker, color=colour, ms=4, alpha=0.4, mew=0)
    alone = figures.get("reader.read, one thread")
    if alone is not None:
        axes.axhline(alone["median_us"], color=_GREEN, ls="--", label="reader.read alone, one thread")
    axes.set_xticks(range(len(threads)), [str(number) for number in threads])
    axes.set_xlabel("reading threads")


PICTURES: dict[str, tuple[str, Callable[[Bench], Figure | None]]] = {
    "ratios": ("Ratios of a benchmark run", ratios_picture),
    "kernel": ("The mixing pass against copying", kernel_picture),
    "host": ("Host time a tile: the Python side of a batch, no decoder behind it", host_picture),
}
