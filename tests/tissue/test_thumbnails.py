"""The thumbnail of a slide that is damaged in places."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cellmix_dali import open_slide
from cellmix_dali.tissue.thumbnails import thumbnail_of


def test_the_thumbnail_of_a_damaged_slide(tmp_path: Path) -> None:
    from damage_kinds import KINDS, layout_of, write_rendered

    (damage,) = (each.damage for each in KINDS if each.name == "zeroed_middle_of_block")
    path = next(path for path in write_rendered(tmp_path) if path.name == "ycbcr.tiff")
    with open_slide(path) as slide:
        whole, unread = thumbnail_of(slide, 300)
        assert not unread.any()
    broken = damage(bytearray(path.read_bytes()), layout_of(path))
    assert broken is not None
    path.write_bytes(broken)
    with open_slide(path) as slide:
        picture, unread = thumbnail_of(slide, 300)
        small, unread_small = thumbnail_of(slide, 200)
    assert picture.shape == whole.shape
    assert unread.any()
    assert not unread[:, :128].any()
    np.testing.assert_array_equal(picture[~unread], whole[~unread])
    # What was not read lies around the damaged block, in column 2 and row 1.
    rows, columns = np.nonzero(unread)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (64, 127, 128, 191)
    assert small.shape == (133, 200, 3)
    assert unread_small.any()
