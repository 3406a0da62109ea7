"""Bad tiles, slides that vanish, files that change while training: the run goes on without them, or stops by name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from damage_kinds import segments

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.errors import ArgumentError, CellMixDaliError, SlideError
from cellmix_dali.pipelines import Loader, evaluate_loader, train_loader
from cellmix_dali.plugins import TileSource
from cellmix_dali.plugins._delivery import Delivery
from cellmix_dali.reading.faults import FaultLog, Substitutes
from cellmix_dali.synthetic import RenderedSlide

Batch = dict[str, torch.Tensor]


@pytest.fixture
def slides(rendered: list[RenderedSlide], tmp_path: Path) -> list[Path]:
    """An SVS and a TIFF of 16 tiles each, of one's own."""
    return [Path(shutil.copy(slide.path, tmp_path)) for slide in rendered]


def table_over(paths: list[Path]) -> TileTable:
    """All 256-px tiles, 16 a slide, row by row; labels 0, 1, 2 in turn."""
    tables = []
    for path in paths:
        with open_slide(path) as slide:
            tables.append(grid_tiles(slide, 256))
    table = TileTable.concat(tables)
    return table.with_labels(np.arange(len(table)) % 3)


def train(table: TileTable, **arguments: Any) -> Loader[TileSource]:
    own = {"num_classes": 3, "batch_size": 4, "patch_size": 64, "fix_ratio": 0.5, "seed": 3} | arguments
    return train_loader(table, **own)


def rows_of(batches: list[Batch]) -> list[list[int]]:
    return [batch["tile"].flatten().tolist() for batch in batches]


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def place_of(path: Path, row: int) -> tuple[int, bytes]:
    """Where the one block of a tile lies in its file, and its stream's bytes there."""
    with open_slide(path) as slide:
        table = slide._blocks.tables[0]
        index = (row % 16) // 4 * table.columns + row % 4
        offset, count = int(table.offsets[index]), int(table.counts[index])
    return offset, path.read_bytes()[offset : offset + count]


def overwrite(path: Path, row: int, change: Callable[[bytes], bytes]) -> None:
    """Change a tile's block in its file, in place."""
    offset, block = place_of(path, row)
    changed = change(block)
    assert len(changed) == len(block)
    assert changed != block
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(changed)


def zeroed_start(block: bytes) -> bytes:
    return bytes(32) + block[32:]


def zeroed_middle(block: bytes) -> bytes:
    return block[: len(block) // 2] + bytes(200) + block[len(block) // 2 + 200 :]


def bomb(block: bytes) -> bytes:
    place = block.index(b"\xff\xc0")
    return block[: place + 5] + (60000).to_bytes(2, "big") * 2 + block[place + 9 :]


def cut(block: bytes) -> bytes:
    return block[: len(block) // 2] + b"\xff\xd9" + block[len(block) // 2 + 2 :]


def seen_by_dali_alone(block: bytes) -> bytes:
    """Huffman tables of another class: whole as far as a header goes, of no use to a decoder."""
    for marker, segment in segments(block):
        if marker == 0xC4:
            block = block.replace(segment, segment[:4] + bytes([segment[4] ^ 0x10]) + segment[5:])
    return block


SEEN = {17: zeroed_start, 22: zeroed_middle, 27: bomb, 3: cut}  # by row


def check_replaced(table: TileTable, good: list[Batch], batches: list[Batch], bad: set[int]) -> None:
    """The batches are those of a run without damage, but for the bad tiles, which others of their class stand for."""
    assert len(batches) == len(good)
    touched = 0
    for right, batch, before, after in zip(good, batches, rows_of(good), rows_of(batches), strict=True):
        if not bad & set(before):
            assert equal(right, batch)
            continue
        touched += 1
        for one, other in zip(before, after, strict=True):
            assert other not in bad
            assert table.label[one] == table.label[other]
            assert one in bad or one == other
        torch.testing.assert_close(right["labels"], batch["labels"])
    assert touched > 0


def test_bad_blocks_are_replaced(slides: list[Path], tmp_path: Path) -> None:
    table = table_over(slides)
    with train(table) as loader:
        good = [batch for _ in range(2) for batch in loader]
    for row, damage in SEEN.items():
        overwrite(slides[row // 16], row, damage)
    runs = []
    for number in range(2):
        noted = tmp_path / f"faults-{number}.jsonl"
        with train(table, fault_file=noted) as loader:
            assert len(loader) == 8
            batches = [batch for _ in range(2) for batch in loader]
            check_replaced(table, good, batches, set(SEEN))
            faults = loader.faults
        runs.append(batches)
        assert sorted(fault.tile for fault in faults) == sorted(SEEN)
        lines = [json.loads(line) for line in noted.read_text().splitlines()]
        assert [line["tile"] for line in lines] == [fault.tile for fault in faults]
        words = {17: "no JPEG starts here", 22: "run of zeros", 27: "60000 x 60000", 3: "ends early"}
        for line in lines:
            row = line["tile"]
            assert words[row] in line["reason"]
            assert line["slide"] == str(slides[row // 16])
            assert (line["level"], line["x"], line["y"], line["size"]) == (0, table.x[row], table.y[row], 256)
            assert line["replaced_by"] not in SEEN
            assert table.label[line["replaced_by"]] == table.label[row]
    assert all(equal(one, other) for one, other in zip(*runs, strict=True))


def test_damage_that_dali_alone_sees(slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_over(slides)
    bad = {18, 24, 25, 31}
    with train(table) as loader:
        good = list(loader)
        seconds = list(loader)
    for row in bad:
        overwrite(slides[1], row, seen_by_dali_alone)
    with train(table) as loader:
        for row in bad:
            loader.source.mark_bad(row, "known beforehand")
        known = [list(loader), list(loader)]
    built: list[int] = []
    make = Loader._make_iterator

    def counted(self: Loader[TileSource]) -> None:
        built.append(1)
        make(self)

    monkeypatch.setattr(Loader, "_make_iterator", counted)
    noted = tmp_path / "faults.jsonl"
    with train(table, fault_file=noted) as loader:
        first = list(loader)
        after_first = len(built)
        second = list(loader)
        faults = loader.faults
    check_replaced(table, good, first, bad)
    check_replaced(table, seconds, second, bad)
    for mine, theirs in ((first, known[0]), (second, known[1])):
        assert all(equal(one, other) for one, other in zip(mine, theirs, strict=True))
    assert 1 < after_first <= 1 + len(bad)  # at most once a bad tile
    assert len(built) == after_first  # and never again for one that is known
    assert sorted(fault.tile for fault in faults) == sorted(bad)
    assert all("DALI cannot decode its block" in fault.reason for fault in faults)
    assert len(noted.read_text().splitlines()) == len(bad)


def shortened(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 4)


def overwritten_by_zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def overwritten_by_noise(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(np.random.default_rng(0).bytes(path.stat().st_size))


@pytest.mark.parametrize("change", [shortened, overwritten_by_zeros, overwritten_by_noise])
def test_a_slide_that_changes_while_training(
    slides: list[Path], tmp_path: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_over(slides)
    with train(table, shuffle=False) as loader:
        good = list(loader)
    noted = tmp_path / "faults.jsonl"
    batches = []
    changing, deliver = Lock(), Delivery._deliver

    def deliver_before_or_after(*given: Any) -> Any:
        # A tile that stands for another must not itself go bad while its batch is read.
        with changing:
            return deliver(*given)

    monkeypatch.setattr(Delivery, "_deliver", deliver_before_or_after)
    with train(table, shuffle=False, fault_file=noted) as loader:
        for number, batch in enumerate(loader):
            if number == 0:
                with changing:
                    change(slides[1])  # rows 16 to 31: batches 4 to 7, of which some may have been read ahead
            batches.append(batch)
        bad = {fault.tile for fault in loader.faults if fault.slide == str(slides[1])}
    assert len(batches) == 8
    assert bad >= set(range(28, 32))
    check_replaced(table, good, batches, bad)
    assert {json.loads(line)["tile"] for line in noted.read_text().splitlines()} == bad
    assert len(noted.read_text().splitlines()) == len(bad)


def test_a_slide_deleted_while_training(slides: list[Path], tmp_path: Path) -> None:
    # Slides beyond the first few are opened when their turn comes.
    paths = [*slides, *(Path(shutil.copy(slides[1], tmp_path / f"copy-{number}.tiff")) for number in range(4))]
    table = table_over(paths)
    with train(table, shuffle=False) as loader:
        good = list(loader)
    batches = []
    with train(table, shuffle=False) as loader:
        for number, batch in enumerate(loader):
            if number == 0:
                paths[0].unlink()  # open: what was opened can be read on
                paths[-1].unlink()  # not yet
            batches.append(batch)
        faults = loader.faults
    gone = set(range(80, 96))
    assert {fault.tile for fault in faults} == gone
    assert all("There is no slide at" in fault.reason and "copy-3.tiff" in fault.reason for fault in faults)
    check_replaced(table, good, batches, gone)


def test_a_slide_that_is_broken_from_the_start_is_replaced_as_well(slides: list[Path]) -> None:
    table = table_over(slides)
    os.truncate(slides[0], 5000)
    with train(table) as loader:
        rows = rows_of(list(loader))
        assert {fault.tile for fault in loader.faults} == set(range(16))
    assert min(min(batch) for batch in rows) >= 16
    with pytest.raises(SlideError, match=r"slide-1\.svs"):
        train(table, on_error="raise")
    os.truncate(slides[1], 5000)
    with pytest.raises(SlideError, match=r"slide-\d\.(svs|tiff)"):
        train(table)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (zeroed_start, r"slide-2\.tiff, level 0, x 256, y 256, size 256\).*no JPEG starts here"),
        (cut, r"slide-2\.tiff, level 0, x 256, y 256, size 256\).*ends early"),
        (seen_by_dali_alone, r"slide-2\.tiff, level 0, x 256, y 256, size 256: DALI cannot decode"),
    ],
)
def test_raise_stops_at_once_and_names_the_tile(
    slides: list[Path], damage: Callable[[bytes], bytes], words: str
) -> None:
    table = table_over(slides)
    overwrite(slides[1], 21, damage)
    with train(table, on_error="raise", shuffle=False) as loader:
        for _ in range(2):  # the loader goes on at that batch
            with pytest.raises(CellMixDaliError, match=words):
                list(loader)
            assert loader.epoch == 0
            assert loader.state_dict()["iteration"] <= 21 // loader.batch_size
    # Evaluation stops unless told otherwise.
    with evaluate_loader(table, batch_size=5) as stopping, pytest.raises(CellMixDaliError, match=words):
        list(stopping)
    with evaluate_loader(table, batch_size=5, on_error="replace") as loader:
        rows = list(chain(*rows_of(list(loader))))
        assert [fault.tile for fault in loader.faults] == [21]
    other = rows[21]
    assert other != 21
    assert table.label[other] == table.label[21]
    assert rows == [*range(21), other, *range(22, 32)]


@pytest.mark.parametrize("damage", [cut, seen_by_dali_alone])
def test_a_class_without_a_good_tile(slides: list[Path], damage: Callable[[bytes], bytes]) -> None:
    table = table_over(slides)
    label = np.where(np.isin(np.arange(32), [17, 20, 30]), 2, np.arange(32) % 2)
    table = table.with_labels(label)
    for row in (17, 20, 30):
        overwrite(slides[1], row, damage)
    with pytest.raises(SlideError, match=r"none of the other tiles of its class .*slide-2\.tiff, level 0, x .*"):
        list(train(table))


def test_a_missing_slide_is_named_at_once(slides: list[Path]) -> None:
    table = table_over(slides)
    slides[1].unlink()
    for make in (train, lambda table: evaluate_loader(table, batch_size=4)):
        with pytest.raises(SlideError, match=r"There is no slide at .*slide-2\.tiff"):
            make(table)


def test_windows_of_many_blocks_are_looked_at_too(slides: list[Path]) -> None:
    """OpenSlide decodes what does not fit into the slots; it shows damaged blocks without a word."""
    overwrite(slides[1], 21, cut)
    table = TileTable.from_columns(slides[1], x=[0, 256, 512], y=[0, 0, 512], size=[256, 512, 512])
    with evaluate_loader(table, batch_size=1, tile_size=256, on_error="replace") as loader:
        loader.source.reader._blocks = 1
        rows = list(chain(*rows_of(list(loader))))
        assert loader.source.read["openslide"] >= 1
        (fault,) = loader.faults
    assert (fault.tile, rows[0], rows[2]) == (1, 0, 2)
    assert "ends early" in fault.reason


def test_substitutes_are_drawn_alike_and_find_the_last_good_tile() -> None:
    label = np.zeros(200_000, int)
    label[[5, 70_000, 199_999]] = 1
    table = TileTable.from_columns("x.svs", x=np.arange(200_000), y=0, size=8, label=label)
    draw = Substitutes(table, on_error="replace", seed=1)
    rare = list(draw.rows(5, 0, "bad"))
    assert sorted(rare) == [70_000, 199_999]
    many = list(draw.rows(7, 2, "bad"))
    assert len(set(many)) == len(many) > 4000
    assert not set(many) & {7, 5, 70_000, 199_999}
    assert many == list(Substitutes(table, on_error="replace", seed=1).rows(7, 2, "bad"))
    assert many[:9] != list(draw.rows(7, 3, "bad"))[:9]


def test_a_fault_file_that_cannot_be_written(slides: list[Path], tmp_path: Path) -> None:
    table = table_over(slides)
    with pytest.raises(ArgumentError, match=r"fault_file=.*nowhere.*cannot be written"):
        train(table, fault_file=tmp_path / "nowhere" / "faults.jsonl")
    noted = tmp_path / "faults.jsonl"
    log = FaultLog(table, noted)
    noted.unlink()
    noted.mkdir()
    with pytest.warns(UserWarning, match="cannot be noted"):
        log.add(3, "a full disk", None)
    assert [fault.tile for fault in log.all()] == [3]
