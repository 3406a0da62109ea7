"""One scanned slide is one slide, by whatever file it is reached."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import openslide
import pytest

from cellmix_dali.errors import ArgumentError
from cellmix_dali.slides.identity import Repeats, slide_identity, unique_slides
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.tables import SlideList, TileRecipe, read_slide_list, tiles_of_slides
from cellmix_dali.tiling import TilingSettings, find_slides, tile_slides
from cellmix_dali.training import slide_data

ODD = Path(__file__).resolve().parents[3] / "shared" / "odd"


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """A DICOM slide of 4 levels, label and macro: 6 files."""
    if not ODD.is_dir():
        pytest.skip(f"the odd slides are not at {ODD}")
    folder = Path(shutil.copytree(ODD / "dicom-sparse", tmp_path / "series"))
    os.chmod(folder, 0o755)  # noqa: PTH101
    return sorted(folder.iterdir())


@pytest.fixture
def links(rendered: list[RenderedSlide], tmp_path: Path) -> dict[str, Path]:
    """A slide, a symbolic link and a hard link to it, and a copy."""
    found = {name: tmp_path / f"{name}.svs" for name in ("own", "symbolic", "hard", "copy")}
    shutil.copyfile(rendered[0].path, found["own"])
    found["symbolic"].symlink_to(found["own"])
    found["hard"].hardlink_to(found["own"])
    shutil.copyfile(rendered[0].path, found["copy"])
    return found


def test_a_series_is_one_slide(series: list[Path]) -> None:
    assert len(series) == 6
    with openslide.OpenSlide(series[0]) as slide:
        uid = slide.properties["dicom.SeriesInstanceUID"]
    assert {slide_identity(path) for path in series} == {("series", uid)}
    slides, (repeats,) = unique_slides(reversed(series))
    assert slides == [repeats.slide]
    assert repeats.slide.name == "S_3.dcm"  # label and macro came first, but are not levels
    assert set(repeats.also) == set(series) - set(slides)


def test_another_series_is_another_slide(series: list[Path]) -> None:
    other = ODD / "dicom-jpeg2000-rct" / "a.dcm"
    assert unique_slides([*series, other])[0] == [series[0], other]


def test_links_are_their_file_and_copies_are_not(links: dict[str, Path]) -> None:
    slides, (repeats,) = unique_slides(links.values())
    assert slides == [links["own"], links["copy"]]
    assert repeats.also == (links["symbolic"], links["hard"])


def element(group: int, number: int, kind: str, value: bytes, implicit: bool = False, order: str = "<") -> bytes:
    if implicit:
        return struct.pack(f"{order}HHI", group, number, len(value)) + value
    if kind in ("SQ", "OB"):
        return struct.pack(f"{order}HH2sHI", group, number, kind.encode(), 0, len(value)) + value
    return struct.pack(f"{order}HH2sH", group, number, kind.encode(), len(value)) + value


def sequence(group: int, number: int, content: bytes, implicit: bool, order: str) -> bytes:
    """Of undefined length, as its item."""
    tags = [struct.pack(f"{order}HH", 0xFFFE, of) for of in (0xE000, 0xE00D, 0xE0DD)]
    head = struct.pack(f"{order}HH", group, number) + (b"" if implicit else b"SQ\0\0") + b"\xff" * 4
    return head + tags[0] + b"\xff" * 4 + content + tags[1] + bytes(4) + tags[2] + bytes(4)


SYNTAXES = {"explicit": b"1.2.840.10008.1.2.1\0", "implicit": b"1.2.840.10008.1.2\0", "big": b"1.2.840.10008.1.2.2\0"}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_the_series_is_not_that_of_a_reference_in_it(tmp_path: Path, syntax: str, padding: bytes) -> None:
    """Sequences before it, of known and of undefined length, name other series."""
    how = syntax == "implicit", ">" if syntax == "big" else "<"
    # The file's own header goes on behind its syntax, as it began: explicit and little-endian.
    own = element(0x0002, 0x0001, "OB", b"\0\1") + element(0x0002, 0x0010, "UI", SYNTAXES[syntax])
    own += element(0x0002, 0x0012, "UI", b"1.2.826.0.1.3680043.2\0") + element(0x0002, 0x0013, "SH", b"ANY ")
    other = element(0x0020, 0x000E, "UI", b"9.9.9\0", *how)
    item = struct.pack(f"{how[1]}HHI", 0xFFFE, 0xE000, len(other)) + other
    body = element(0x0008, 0x0008, "CS", b"DERIVED\\PRIMARY\\VOLUME\\NONE ", *how)
    body += sequence(0x0008, 0x1115, other, *how) + element(0x0008, 0x1140, "SQ", item, *how)
    body += element(0x0020, 0x000D, "UI", b"1.2.3\0", *how) + element(0x0020, 0x000E, "UI", b"1.2.4" + padding, *how)
    path, label = tmp_path / "a.dcm", tmp_path / "a label.dcm"
    path.write_bytes(bytes(128) + b"DICM" + own + body)
    assert slide_identity(path) == ("series", "1.2.4")
    label.write_bytes(path.read_bytes().replace(b"VOLUME", b"LABEL "))
    assert unique_slides([label, path]) == ([path], [Repeats(path, (label,))])
    path.write_bytes(path.read_bytes()[:-8])  # it ends early: the file is itself
    assert slide_identity(path)[0] == "file"  # type: ignore[index]


def test_what_cannot_be_looked_at_is_its_path(tmp_path: Path) -> None:
    loop = tmp_path / "loop.svs"
    loop.symlink_to(loop)
    pipe = tmp_path / "pipe.dcm"
    os.mkfifo(pipe)
    found = [slide_identity(path) for path in (loop, tmp_path / "missing.dcm", pipe, "a\0b.svs")]
    assert len(set(found)) == 4


# ------------------------------------------------------------------------------------------- wherever slides are named


@pytest.mark.parametrize("named", ["folder", "files", "pattern", "label and level"])
def test_a_job_tiles_a_series_once(series: list[Path], named: str, tmp_path: Path) -> None:
    folder = series[0].parent
    sources = {
        "folder": [folder],
        "files": series,
        "pattern": [folder / "*.dcm"],
        "label and level": [series[4], series[1]],
    }[named]
    result = tile_slides(sources, tmp_path / "out", TilingSettings(tile_size=256, tissue=0.0), workers=0)
    assert len(result.slides) == 1
    assert result.tiles == 64
    (repeats,) = result.repeats
    assert repeats.slide not in (series[4], series[5])
    assert len(repeats.also) == (1 if named == "label and level" else 5)


def test_a_job_tells_of_it(series: list[Path], run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, out, _ = run("tile", series[0].parent, "--out", tmp_path / "out", "--tile-size", 256, "--workers", 0)
    assert code == 0
    assert "6 files are one slide, which was tiled once" in out


def test_links_are_tiled_once(links: dict[str, Path]) -> None:
    found = find_slides([links["own"].parent], TilingSettings(tile_size=256))
    assert [slide.path.name for slide in found.slides] == ["copy.svs", "hard.svs"]
    assert [each.slide.name for each in found.repeats] == ["hard.svs"]


def write_list(path: Path, *rows: tuple[Path, str]) -> Path:
    path.write_text("slide,label\n" + "".join(f"{slide},{label}\n" for slide, label in rows))
    return path


def test_a_list_that_names_a_series_twice_is_refused(series: list[Path], tmp_path: Path) -> None:
    listed = write_list(tmp_path / "list.csv", (series[0], "benign"), (series[5], "malignant"))
    with pytest.raises(ArgumentError, match=r"line 3: .*S_macro\.dcm is already in .*line 2, as .*S_0\.dcm"):
        read_slide_list(listed)
    with pytest.raises(ArgumentError, match="both files are one slide"):
        find_slides([listed], TilingSettings(tile_size=256))


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_list_that_names_a_link_is_refused(links: dict[str, Path], link: str, tmp_path: Path) -> None:
    listed = write_list(tmp_path / "list.csv", (links["own"], "a"), (links["copy"], "b"), (links[link], "b"))
    with pytest.raises(ArgumentError, match=r"line 4: .*is already in .*line 2"):
        read_slide_list(listed)


def test_a_list_made_in_python_as_well(series: list[Path]) -> None:
    with pytest.raises(ArgumentError, match="are one slide: its tiles would be there twice"):
        tiles_of_slides(SlideList((series[0], series[1])), TileRecipe(256, tissue=0))
    with pytest.raises(ArgumentError, match=f"{series[0]} and {series[0]} are one slide"):
        tiles_of_slides(SlideList((series[0], series[0])), TileRecipe(256, tissue=0))


def test_the_demo_takes_a_series_once(series: list[Path]) -> None:
    data = slide_data([series[0].parent], tile_size=128)
    assert list(data.source.slides) == [str(series[0])]
    assert "right side of the one slide" in data.split
