"""Measures this project against others and prints a table: ``make bench``.

Figures are for people: no test reads them. See docs/performance.md for how each is measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import settings
from machine import machine, versions
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # worker processes import this file: they need none of it
    from groups import Report

_GROUPS = (
    *("blocks", "svs", "windows", "formats", "whole", "methods", "kernel", "tiling", "job"),
    *("augmenting", "verifying", "drop_in", "gil", "host", "memory"),
)
_LEAST_SIDE = 2048
# Keys that are always in the report, so that a reader finds null and a note instead of nothing.
_RATIOS = (
    "read_over_cucim",
    "windows_over_openslide",
    "whole_over_openslide",
    "mix_over_normalise",
    "kernel_over_copy",
    "pipeline_over_decode",
    "host_us_per_tile",
)


def main() -> int:
    """Measure, print, write; a group that fails is noted, and the others go on."""
    from groups import GROUPS, Report
    from material import material

    arguments, console, report, failed = _arguments(), Console(), Report(), 0
    about = {"machine": machine(), "versions": versions(), "settings": _settings(arguments)}
    console.print(about)
    began = time.perf_counter()
    with material(arguments.side) as slides:
        console.print(f"Slides of {arguments.side} px rendered in {time.perf_counter() - began:.0f} s.")
        for name in arguments.only:
            start = time.perf_counter()
            try:
                GROUPS[name](slides, arguments.rounds, report)
            except Exception as error:
                traceback.print_exc()
                report.notes[f"group {name}"] = f"failed: {error}"
                failed += 1
            console.print(f"{name}: {time.perf_counter() - start:.0f} s")
            arguments.out.write_text(json.dumps({**about, **_as_dict(report)}, indent=1) + "\n")
    _show(console, report)
    console.print(f"Written: {arguments.out} ({time.perf_counter() - began:.0f} s in all)")
    return failed


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, and the constants."""
    constants = {name.lower(): getattr(settings, name) for name in settings.__all__}
    return {"rounds": arguments.rounds, "side": arguments.side, "groups": list(arguments.only), **constants}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each group, 5 or more for figures that count")
    parser.add_argument("--side", type=int, default=16384, help="side of the slides in pixels")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="where the figures go")
    parser.add_argument("--only", nargs="+", choices=_GROUPS, default=_GROUPS, help="groups to run")
    arguments = parser.parse_args()
    if arguments.side < _LEAST_SIDE or arguments.rounds < 1:
        parser.error(f"--side is {_LEAST_SIDE} or more (a batch of blocks), --rounds 1 or more")
    return arguments


def _as_dict(report: Report) -> dict[str, Any]:
    series = {group: {name: each.as_dict() for name, each in found.items()} for group, found in report.series.items()}
    ratios = dict.fromkeys(_RATIOS) | report.ratios
    missing = {key: "its group did not run, or failed" for key, value in ratios.items() if value is None}
    return {
        "ratios": ratios,
        "rounds": report.rounds,
        "notes": missing | report.notes,
        "series": series,
        "other": report.other,
    }


def _figure(value: object) -> object:
    """What is shown of a figure."""
    if not isinstance(value, dict):
        return value
    return value.get("median_us", f"{value.get('over_copy')} of copying")


def _show(console: Console, report: Report) -> None:
    for group, found in report.series.items():
        table = Table("contestant", title=group, title_justify="left")
        for heading in ("tiles/s (median)", "least", "most", "CPU us per tile"):
            table.add_column(heading, justify="right")
        for name, each in found.items():
            cpu = statistics.median(each.cpu_us_per_tile)
            values = each.median, min(each.tiles_per_s), max(each.tiles_per_s), cpu
            table.add_row(name, *(f"{value:.0f}" for value in values))
        console.print(table)
    for name, figures in report.other.items():
        table = Table(name, title_justify="left", min_width=60)
        table.add_column("", justify="right")
        for key, value in figures.items():
            table.add_row(str(key), str(_figure(value)))
        console.print(table)
    table = Table("ratio", title="ratios (medians of the rounds' ratios)", title_justify="left")
    table.add_column("", justify="right")
    table.add_column("note")
    for key, ratio in report.ratios.items():
        table.add_row(key, "-" if ratio is None else f"{ratio:.2f}", report.notes.get(key, ""))
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
