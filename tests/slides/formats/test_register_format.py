"""A slide format of one's own, from outside the package: by decorator and by the entry point of a package."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from dicom_files import image, write_dicom
from PIL import Image
from slide_files import directory, picture, write_tiff
from vendor_files import Region, write_leica, write_ndpi, write_philips, write_ventana

from cellmix_dali import TileTable, open_slide, read_tiles, train_loader
from cellmix_dali.errors import ArgumentError
from cellmix_dali.slides import slide_suffixes
from cellmix_dali.slides.formats import FORMATS, SlideFormat, register_format
from cellmix_dali.slides.inspection import inspect_slide

CODE = '''
import numpy as np
from cellmix_dali.slides import SlideFormat, register_format
from cellmix_dali.slides.block_table import BlockTable
from cellmix_dali.slides.found import from_blocks


@register_format
class Toy(SlideFormat):
    """Four bytes "TOY1", then a row of JPEG blocks of 64 x 64 pixels, each with its length before it."""

    name, suffixes = "toy", (".toy",)
    files, read = "toys", "JPEG blocks go to DALI as they are"

    def recognises(self, file):
        return file.head.startswith(b"TOY1")

    def look(self, file):
        data, offsets, counts = file.path.read_bytes(), [], []
        place = 4
        while place < len(data):
            counts.append(int.from_bytes(data[place : place + 4], "little"))
            offsets.append(place + 4)
            place = offsets[-1] + counts[-1]
        table = BlockTable(
            width=64 * len(counts), height=64, block_width=64, block_height=64, columns=len(counts), rows=1,
            offsets=np.array(offsets), counts=np.array(counts), compression="jpeg", colour="ycbcr", streams=None,
        )
        return from_blocks(file.path, [table], "A toy's blocks are JPEG.", mpp=(0.5, 0.5))
'''


@pytest.fixture
def toy(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A slide of four blocks, and its pixels."""
    random, parts, pixels = np.random.default_rng(0), [b"TOY1"], []
    for _ in range(4):
        block = np.full((64, 64, 3), random.integers(0, 256, 3), np.uint8)
        out = io.BytesIO()
        Image.fromarray(block).save(out, "jpeg", quality=95)
        parts += [len(out.getvalue()).to_bytes(4, "little"), out.getvalue()]
        pixels.append(np.asarray(Image.open(out)))
    path = tmp_path / "slide.toy"
    path.write_bytes(b"".join(parts))
    return path, np.concatenate(pixels, axis=1)


@pytest.fixture
def registered() -> Iterator[None]:
    exec(CODE, {"__name__": "toys"})
    yield
    del FORMATS["toy"]


@pytest.mark.usefixtures("registered")
def test_everything_takes_it(toy: tuple[Path, np.ndarray]) -> None:
    path, pixels = toy
    with open_slide(path) as slide:
        assert (slide.format, slide.vendor, slide.route, slide.mpp) == ("toy", None, "direct", (0.5, 0.5))
        np.testing.assert_array_equal(slide.read_region(0, 10, 5, 200, 50), pixels[5:55, 10:210])
    tiles = read_tiles(path, [(0, 0), (32, 0)], 64)
    np.testing.assert_array_equal(np.stack(list(tiles)), np.stack([pixels[:, :64], pixels[:, 32:96]]))
    table = TileTable.from_columns(str(path), x=[0, 64, 128, 192], y=[0] * 4, size=64, level=0).with_labels(
        [0, 1, 0, 1]
    )
    with train_loader(table, num_classes=2, batch_size=2, method=None, flips=False) as loader:
        batches = list(loader)
    assert sorted(row for batch in batches for row in batch["tile"].flatten().tolist()) == [0, 1, 2, 3]
    assert ".toy" in slide_suffixes()


@pytest.mark.usefixtures("registered")
def test_what_cannot_be_a_format_is_refused() -> None:
    with pytest.raises(ArgumentError, match="There is a slide format 'toy' already"):
        exec(CODE, {"__name__": "toys"})
    with pytest.raises(ArgumentError, match="cannot be a slide format"):
        register_format(int)  # type: ignore[type-var]
    with pytest.raises(ArgumentError, match="lacks name, files, read, look, recognises"):
        register_format(type("Bare", (SlideFormat,), {}))


def offered(folder: Path, code: str) -> Path:
    """An installed package that offers a format by an entry point."""
    folder.mkdir()
    (folder / "toys.py").write_text(code)
    info = folder / "toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[cellmix_dali.slide_formats]\ntoy = toys:Toy\n")
    return folder


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from cellmix_dali.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, str(folder), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_inspect_knows_it_by_an_entry_point(toy: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    done = run(offered(tmp_path / "site", CODE), "inspect", toy[0], "--json")
    assert done.returncode == 0, done.stderr
    info = json.loads(done.stdout)
    assert (info["format"], info["vendor"], info["route"]) == ("toy", None, "direct")


def test_a_package_that_fails_is_named(rendered: list, tmp_path: Path) -> None:  # type: ignore[type-arg]
    done = run(offered(tmp_path / "site", "1 / 0"), "inspect", rendered[0].path)
    assert done.returncode == 2
    words = " ".join(done.stderr.split())
    assert re.search(r"slide format 'toy' of toys cannot be loaded .*division by zero.*uninstall the package", words), (
        words
    )


def test_the_readme_has_a_row_for_each_format() -> None:
    root = Path(__file__).parents[3]
    readme, changes = ((root / name).read_text(encoding="utf-8") for name in ("README.md", "CHANGELOG.md"))
    for of in FORMATS.values():
        assert f"| {of.files} | {of.read} | {of.since or '-'} | {of.tested} |" in readme, of.name
        assert not of.since or f"\n## {of.since}" in changes, of.name
        assert of.tested, of.name


def _tiff(path: Path, description: str | None = None) -> Path:
    return write_tiff(path, [directory(picture(200, 150), description=description, pixels_per_cm=20000)])


ONE_OF_EACH: dict[str, Callable[[Path], Path]] = {
    "aperio": lambda folder: _tiff(folder / "a.svs", "Aperio Image Library v12\r\n200x150|MPP = 0.5"),
    "dicom": lambda folder: write_dicom(folder / "a.dcm", image(picture(200, 150))),
    "hamamatsu": lambda folder: write_ndpi(folder / "a.ndpi"),
    "leica": lambda folder: write_leica(folder / "a.scn", [Region(100, 80, picture(320, 240))]),
    "ome-tiff": lambda folder: _tiff(
        folder / "a.ome.tiff",
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels SizeX="200" SizeY="150" SizeC="3" SizeZ="1" SizeT="1"><Channel SamplesPerPixel="3"/></Pixels></Image>'
        "</OME>",
    ),
    "philips": lambda folder: write_philips(folder / "a.tiff"),
    "qptiff": lambda folder: _tiff(
        folder / "a.qptiff", "<PerkinElmer-QPI-ImageDescription><ImageType>FullResolution</ImageType>"
        "</PerkinElmer-QPI-ImageDescription>"
    ),
    "tiled-tiff": lambda folder: _tiff(folder / "a.tiff"),
    "ventana": lambda folder: write_ventana(folder / "a.bif"),
}  # fmt: skip


def test_what_is_said_to_be_direct_is(tmp_path: Path) -> None:
    """As a file of each format shows; the others are never direct."""
    assert {name for name, of in FORMATS.items() if of.since} == ONE_OF_EACH.keys()
    for name, write in ONE_OF_EACH.items():
        (tmp_path / name).mkdir()
        info = inspect_slide(write(tmp_path / name))
        assert (info["format"], info["route"]) == (name, "direct")
        assert (info["direct_since"], info["tested"]) == (FORMATS[name].since, FORMATS[name].tested)
