"""Random damage, mostly to headers: whatever it is, the answer is a tile or an error of the package's own."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from damage_kinds import COUNTS, OFFSETS, TABLES, Layout, layout_of, write_of_vendors, write_rendered
from hypothesis import HealthCheck, event, given, settings, strategies as st
from run_kinds import forget_peak, memory

from cellmix_dali import TileTable, open_slide
from cellmix_dali.errors import CellMixDaliError, SlideError
from cellmix_dali.reading.slides import EncodedTile, TileReader

EXAMPLES, SECONDS, BYTES = 1000, 5, 500e6


class Target:
    """A small slide, with the spans of it where damage does most."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        self.name = path.name
        at = layout_of(path)
        entries = [(tag.entry, 20 if at.big else 12) for tag in at.tags.values()]
        values = [(at.tags[code].values, 4 * at.tags[code].count) for code in (OFFSETS, COUNTS)]
        tables = [(at.tags[code].values, at.tags[code].count) for code in (TABLES,) if code in at.tags]
        blocks = [(offset, 700 if at.jpeg else 200) for offset in at.offsets[:8]]  # their headers
        self.spans = [(0, 16), *self._directories(at), *entries, *values, *tables, *blocks, (0, len(self.content))]

    def _directories(self, at: Layout) -> list[tuple[int, int]]:
        return [(offset, 16) for offset in at.directories]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> list[Target]:
    folder = tmp_path_factory.mktemp("slides")
    return [Target(path) for path in (*write_rendered(folder), *write_of_vendors(folder))]


WHERE = st.tuples(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))  # a span, and a place in it
CHANGES = st.one_of(
    st.tuples(st.just("flip"), WHERE, st.integers(0, 7)),
    st.tuples(st.just("byte"), WHERE, st.integers(0, 255)),
    st.tuples(st.just("zero"), WHERE, st.sampled_from([1, 4, 8, 64, 512, 4096])),
    st.tuples(st.just("ones"), WHERE, st.sampled_from([1, 2, 4, 8])),
    st.tuples(st.just("noise"), WHERE, st.binary(min_size=1, max_size=16)),
    st.tuples(st.just("move"), WHERE, WHERE),
    st.tuples(st.just("cut"), WHERE, st.none()),
)


def damaged(target: Target, changes: list) -> bytes:
    data = bytearray(target.content)

    def place(where: tuple[int, float]) -> int:
        start, length = target.spans[where[0] % len(target.spans)]
        return min(start + int(where[1] * length), len(data) - 1)

    for how, where, value in changes:
        if not data:
            break
        at = place(where)
        if how == "flip":
            data[at] ^= 1 << value
        elif how == "byte":
            data[at] = value
        elif how in ("zero", "ones"):
            data[at : at + value] = bytes([0 if how == "zero" else 255]) * len(data[at : at + value])
        elif how == "noise":
            data[at : at + len(value)] = value
        elif how == "move":
            start = place(value)
            data[at : at + 12] = data[start : start + 12]
        else:
            del data[at:]
    return bytes(data)


def read(path: Path) -> tuple[int, int]:
    """Read tiles by every way; how many came, and how many were refused."""
    try:
        with open_slide(path) as slide:
            level = slide.levels[0]
            slide.read_region(len(slide.levels) - 1, 10, 10, 70, 70)
        x, y = (each.ravel() for each in np.meshgrid([0, 64, 100, 236], [0, 64, 136]))
        table = TileTable.from_columns(path, x=x, y=y, size=64)
        found: list[EncodedTile | SlideError] = []
        for slots in (1, 4):
            reader = TileReader(table, slots=slots, edge="pad")
            found += reader.read(np.arange(len(table)))
            reader.close()
    except CellMixDaliError as error:
        if str(path) not in str(error):
            raise AssertionError(f"an error does not name the file: {error}") from error
        return 0, 0
    assert level.width > 0
    return sum(isinstance(tile, EncodedTile) for tile in found), sum(isinstance(tile, SlideError) for tile in found)


@pytest.mark.slow
def test_fuzz(targets: list[Target], tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    forget_peak()
    before = memory("VmRSS")

    @settings(
        max_examples=EXAMPLES,
        deadline=timedelta(seconds=SECONDS),
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.integers(0, len(targets) - 1), st.lists(CHANGES, min_size=1, max_size=4))
    def fuzz(number: int, changes: list) -> None:
        path = tmp_path / targets[number].name
        path.write_bytes(damaged(targets[number], changes))
        came, refused = read(path)
        what = "refused" if not came + refused else "all came" if not refused else "some came"
        outcomes[what] += 1
        event(what)

    fuzz()
    assert memory("VmHWM") - before < BYTES
    # The damage is of all strengths, or the test shows nothing.
    assert min(outcomes[what] for what in ("refused", "some came", "all came")) > EXAMPLES // 40, outcomes
