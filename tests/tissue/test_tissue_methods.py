"""How much of known tissue the methods find, and how much glass they take; methods by name and of one's own."""

from __future__ import annotations

import numpy as np
import pytest
from tissue_pictures import CASES, make, measure

from cellmix_dali.errors import ArgumentError
from cellmix_dali.tiling import TilingSettings
from cellmix_dali.tissue import tissue_mask
from cellmix_dali.tissue.ink import ink_mask
from cellmix_dali.tissue.methods import METHODS, find_method
from cellmix_dali.tissue.methods.saturation import _otsu


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.must and case.strengths])
def test_tissue_of_h_e_and_h_dab_is_found_and_glass_is_not(name):
    _, least, glass = measure(tissue_mask, CASES[name])
    assert least >= 0.9  # of each of the two pieces
    assert glass <= 0.05
    if not CASES[name].pen:
        assert ink_mask(make(CASES[name])[0]).mean() < 0.005


@pytest.mark.parametrize("name", ["glass alone", "glass alone, dust"])
def test_glass_alone_has_no_tissue(name):
    assert tissue_mask(make(CASES[name])[0]).mean() < 0.002
    assert ink_mask(make(CASES[name])[0]).mean() < 0.005


@pytest.mark.parametrize("name", ["PAS", "PAS pale", "trichrome"])
def test_other_coloured_stains_are_found(name):
    _, least, glass = measure(tissue_mask, CASES[name])
    assert least >= 0.9
    assert glass <= 0.05
    assert ink_mask(make(CASES[name])[0]).mean() < 0.005


@pytest.mark.parametrize("name", ["H&E blue pen", "H&E green pen", "H&E black pen", "H-DAB, blue pen"])
def test_pens_are_no_tissue(name):
    picture, _, glass = make(CASES[name])
    clean, _, _ = make(CASES[name].without_pen())
    drawn = (np.abs(picture.astype(int) - clean).max(2) > 40) & glass
    assert drawn.mean() > 0.01
    assert tissue_mask(picture)[drawn].mean() < 0.02


def test_one_global_threshold_misses_pale_tissue_beside_strong_tissue():
    # What the new method is for; if this fails, the pictures have become too easy.
    assert measure(METHODS["saturation"], CASES["H&E pale beside strong"])[1] < 0.4


def test_a_method_is_taken_by_name_by_place_or_as_it_is():
    picture = make(CASES["H&E"])[0]
    assert (tissue_mask(picture, "saturation") == METHODS["saturation"](picture)).all()
    own = find_method("cellmix_dali.tissue.methods.saturation:by_saturation")
    assert own is METHODS["saturation"]
    assert (tissue_mask(picture, lambda rgb: rgb[..., 1] < 200) == (picture[..., 1] < 200)).all()


@pytest.mark.parametrize("name", ["densty", "no_such_module:mask", "cellmix_dali.tissue.mask:nothing", "os:sep"])
def test_an_unknown_method_is_refused(name):
    with pytest.raises(ArgumentError, match="tissue method"):
        find_method(name)
    with pytest.raises(ArgumentError, match="tissue method"):
        TilingSettings(tissue_method=name)


@pytest.mark.parametrize("wrong", [lambda rgb: rgb, lambda rgb: rgb[:5, :, 0] > 9, lambda _: None, lambda _: 1 / 0])
def test_what_a_users_method_gives_is_checked(wrong):
    with pytest.raises(ArgumentError, match=r"tissue method .* (gave|failed)"):
        tissue_mask(np.full((20, 30, 3), 240, np.uint8), wrong)


def test_the_method_is_a_setting_that_a_job_keeps():
    assert TilingSettings().to_json()["tissue_method"] == "density"
    assert TilingSettings(tissue_method="saturation").to_json()["tissue_method"] == "saturation"


def test_otsu_parts_with_the_greatest_variance_between() -> None:
    """Against his formula, written out: weights and means of both sides of every threshold."""
    random = np.random.default_rng(4)
    for share in (0.05, 0.3, 0.5, 0.9):
        count = int(5000 * share)
        values = np.concatenate([random.normal(60, 15, 5000 - count), random.normal(170, 25, count)])
        values = values.clip(0, 255).astype(np.uint8)
        between = []
        for threshold in range(255):
            low, high = values[values <= threshold], values[values > threshold]
            apart = 0.0 if not (low.size and high.size) else low.mean() - high.mean()
            between.append(low.size * high.size * apart**2)
        assert _otsu(values) == int(np.argmax(between))
