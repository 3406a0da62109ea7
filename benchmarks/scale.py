"""Measures how time and memory grow with the slides of a collection: ``python benchmarks/scale.py``.

Each case is a function in `scale_cases.CASES`: it is given a `Collection` and returns figures by name. It runs in a
process of its own for each number of slides, alone, so that memory is that of the case. From the sizes follow the
exponents of growth: 1 is linear. Figures are for people: no test reads them. See docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from scale_material import Collection, make_collection
from scale_memory import own_memory, reset_peak

Figures = dict[str, float]


def main() -> int:
    """Measure, print, write; a case that fails is told, and the others go on."""
    from scale_cases import CASES

    arguments, console = _arguments(sorted(CASES)), Console()
    found: dict[str, dict[int, Figures]] = {name: {} for name in arguments.only}
    failed = 0
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="scale-") as folder:
        for slides in arguments.slides:
            collection = make_collection(
                Path(folder) / str(slides),
                slides,
                arguments.blocks,
                arguments.tiles,
                sparse=slides >= arguments.sparse_from,
            )
            for name in arguments.only:
                try:
                    found[name][slides] = _alone(name, collection)
                except Exception:
                    traceback.print_exc()
                    failed += 1
                    continue
                console.print(f"{name}, {slides} slides: {_told(found[name][slides])}", soft_wrap=True)
                arguments.out.write_text(json.dumps(_as_dict(found, arguments), indent=1) + "\n")
    _show(console, found)
    console.print(f"Written: {arguments.out}")
    return failed


def exponents(found: dict[int, Figures]) -> Figures:
    """Return each figure's exponent of growth over the number of slides: the slope of the logarithms, least squares."""
    slopes = {}
    for name in {name for figures in found.values() for name in figures}:
        points = [(math.log(size), math.log(of[name])) for size, of in found.items() if of.get(name, 0) > 0]
        if len(points) < 2:
            continue
        x, y = (sum(of) / len(points) for of in zip(*points, strict=True))
        slopes[name] = sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)
    return slopes


def _alone(name: str, collection: Collection) -> Figures:
    """Run a case in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run_case, name, collection).result()


def run_case(name: str, collection: Collection) -> Figures:
    """Run a case here; return its figures, processor time, the clock and the most memory of its own beside them."""
    from scale_cases import CASES

    before = own_memory()
    reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    figures = CASES[name](collection)
    return {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "own_mb": own_memory(),
        "grown_mb": max(own_memory() - before, 0.0),
        **figures,
    }


def _arguments(cases: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, nargs="+", default=(10, 100, 1000), help="sizes of the collections")
    parser.add_argument("--blocks", type=int, default=130_000, help="blocks of each slide's first level")
    parser.add_argument("--tiles", type=int, default=100, help="rows of the tile table for each slide")
    parser.add_argument("--only", nargs="+", choices=cases, default=cases, help="cases to run")
    parser.add_argument(
        "--sparse-from",
        type=int,
        default=10_000,
        help="slides of so many or more have holes for tables, and an index that says what would stand there",
    )
    parser.add_argument(
        "--folder", type=Path, help="where the slides lie meanwhile: some 2 MB a slide of 130,000 blocks"
    )
    parser.add_argument("--out", type=Path, default=Path("scale.json"), help="where the figures go")
    return parser.parse_args()


def _as_dict(found: dict[str, dict[int, Figures]], arguments: argparse.Namespace) -> dict[str, Any]:
    asked = {name: getattr(arguments, name) for name in ("blocks", "tiles", "sparse_from")}
    figures = {name: {str(size): of for size, of in sizes.items()} for name, sizes in found.items()}
    return {"settings": asked, "figures": figures, "exponents": {name: exponents(of) for name, of in found.items()}}


def _told(figures: Figures) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _show(console: Console, found: dict[str, dict[int, Figures]]) -> None:
    for case, sizes in found.items():
        table, slopes = Table(case, title_justify="left"), exponents(sizes)
        for size in sizes:
            table.add_column(f"{size} slides", justify="right")
        table.add_column("exponent", justify="right")
        for name in dict.fromkeys(name for figures in sizes.values() for name in figures):
            values = [f"{figures[name]:.4g}" if name in figures else "-" for figures in sizes.values()]
            table.add_row(name, *values, f"{slopes[name]:.2f}" if name in slopes else "-")
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())
