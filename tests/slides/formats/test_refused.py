"""Files that must be converted are refused with the program that does it."""

from __future__ import annotations

from pathlib import Path

import pytest
from slide_files import directory, picture, write_tiff

from cellmix_dali import open_slide
from cellmix_dali.errors import SlideError
from cellmix_dali.slides import slide_suffixes

XML = b'<DataObject ObjectType="DPUfsImport"><Attribute Name="DICOM_MANUFACTURER">PHILIPS</Attribute></DataObject>'


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.isyntax", XML + b"\x04" + bytes(5000), r"a Philips iSyntax.*isyntax-to-tiff a.isyntax a.tiff"),
        ("renamed.bin", XML + b"\x04" + bytes(5000), r"a Philips iSyntax.*isyntax-to-tiff renamed.bin renamed.tiff"),
        (
            "a.czi",
            b"ZISRAWFILE" + bytes(5000),
            r"a Zeiss CZI that OpenSlide cannot open .*ZISRAWDIRECTORY.*bfconvert .* a.czi a.ome.tiff",
        ),
    ],
)
def test_the_converter_is_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SlideError, match=words):
        open_slide(path)


def test_the_overview_of_a_vsi_is_not_taken_for_the_slide(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.vsi", [directory(picture(100, 80))])
    with pytest.raises(SlideError, match=r"an Olympus VSI.*bfconvert .* a.vsi a.ome.tiff"):
        open_slide(path)
    path.rename(tmp_path / "a.tiff")
    with open_slide(tmp_path / "a.tiff") as slide:
        assert slide.format == "tiled-tiff"


def test_they_are_not_passed_over_in_a_folder() -> None:
    assert {".vsi", ".isyntax", ".czi"} <= slide_suffixes()
