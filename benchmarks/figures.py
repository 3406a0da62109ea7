"""Writes a benchmark's figures as a page and pictures: ``make figures``.

    python benchmarks/figures.py bench.json docs/
    python benchmarks/figures.py bench-gpu.json docs/

Files of runs on one machine may be given together, such as those of single groups: a later one's figures replace an
earlier one's. Makes performance-figures.md with performance-ratios.png, performance-kernel.png and performance-host.png
(performance-gpu-... of bench-gpu.json); a picture without figures is left out.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench_file import Bench, aim_of, is_met, merged, note, on_gpu
from plots import PICTURES

__all__ = ["page"]

_ELSEWHERE = ("OpenSlide + DataLoader", "blocks into shards", "cp")  # other processes do it


def page(bench: Bench, pictures: Sequence[str]) -> str:
    """Return the page: what ran, every ratio with its aim and its rounds, and all tables.

    Parameters
    ----------
    bench : dict
        See `bench_file.merged`.
    pictures : sequence of str
        File names of the pictures beside it.
    """
    versions = ", ".join(f"{name} {version}" for name, version in bench["versions"].items())
    parts = [
        "# Figures of a benchmark run",
        "Written by `make figures` from what `make bench` measured; [performance.md](performance.md) says how.",
        f"{note(bench)}. Versions: {versions}.",
        *(f"![{name}]({name})" for name in pictures),
        "## Ratios",
        _ratios(bench),
    ]
    for group, series in bench["series"].items():
        parts += [f"## {group[0].upper()}{group[1:]}", _series(series)]
    for group, figures in bench["other"].items():
        parts += [f"## {group[0].upper()}{group[1:]}", _others(figures)]
    return "\n\n".join(parts) + "\n"


def _ratios(bench: Bench) -> str:
    rows = []
    for key, value in bench["ratios"].items():
        aim, met, rounds = aim_of(bench, key), is_met(bench, key), bench["rounds"].get(key, [])
        spread = f"{min(rounds):.2f} to {max(rounds):.2f}" if rounds else ""
        told = {None: "", True: "met", False: "**missed**"}[met]
        rows.append((f"`{key}`", f"{value:.2f}", spread, "" if aim is None else f"{aim:g}", told))
    return _table(("ratio", "median", "rounds", "aim", ""), rows)


def _series(series: Bench) -> str:
    rows = []
    for name, each in series.items():
        rates = each["tiles_per_s"]
        cpu = f"{statistics.median(each['cpu_us_per_tile']):.0f}"
        elsewhere = name in _ELSEWHERE or name.startswith(("OpenSlide + DataLoader", "cp "))
        rows.append(
            (
                name,
                f"{each['median_tiles_per_s']:.0f}",
                f"{min(rates):.0f} to {max(rates):.0f}",
                "other processes" if elsewhere else cpu,
            )
        )
    return _table(("", "tiles/s, median", "rounds", "processor us per tile, median"), rows)


def _others(figures: Bench) -> str:
    if all(isinstance(each, dict) and "over_copy" in each for each in figures.values()):
        ways = [key for key in next(iter(figures.values())) if key.endswith("GB/s")]
        rows = [(name, *(str(each[way]) for way in ways), f"{each['over_copy']:.2f}") for name, each in figures.items()]
        return _table(("", *ways, "of copying"), rows)
    rows = [(str(name), *_figure(each)) for name, each in figures.items()]
    return _table(("", "", "rounds")[: max(map(len, rows))], [(*row, "")[: max(map(len, rows))] for row in rows])


def _figure(each: object) -> Iterator[str]:
    """A figure, and its rounds where it has some."""
    if not isinstance(each, dict):
        yield str(each)
        return
    yield str(each["median_us"])
    yield f"{min(each['us'])} to {max(each['us'])}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def main() -> int:
    """Write and draw; without any figures, end with an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="+", type=Path, help="bench.json, or bench-gpu.json, or several of one kind")
    parser.add_argument("folder", type=Path, help="where page and pictures go")
    arguments = parser.parse_args()
    bench = merged(arguments.figures)
    beginning = f"performance-{'gpu-' if on_gpu(bench) else ''}"
    arguments.folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, (title, draw) in PICTURES.items():
        figure = draw(bench)
        if figure is None:
            print(f"No figures for {name}.")
            continue
        figure.suptitle(f"{title}\n{note(bench)}", fontsize=10)
        made.append(f"{beginning}{name}.png")
        figure.savefig(arguments.folder / made[-1], dpi=110)
        print(arguments.folder / made[-1])
    if not made:
        return 1
    path = arguments.folder / f"{beginning}figures.md"
    path.write_text(page(bench, made), encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
