"""Choosing a level by mpp, magnification or number; slides whose mpp cannot be believed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cellmix_dali import open_slide
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.slides import Level
from cellmix_dali.slides.resolution import TOLERANCE, LevelChoice, choose_level, mpp_problem, objective_power, slide_mpp
from cellmix_dali.synthetic import write_slide


def fake(mpp=(0.25, 0.25), downsamples=(1.0, 4.0, 16.0), **properties):
    """What choosing looks at, of a slide of 4096 x 4096 pixels."""
    levels = tuple(Level(round(4096 / d), round(4096 / d), d) for d in downsamples)
    names = {name.replace("__", ".").replace("_", "-"): value for name, value in properties.items()}
    return SimpleNamespace(path=Path("/slides/a.svs"), levels=levels, mpp=mpp, properties=names)


@pytest.mark.parametrize(
    ("wanted", "level", "size"),
    [
        (0.25, 0, 256),
        (0.5, 0, 512),
        (0.99, 1, 256),  # 1.0 is coarser by 1 %: within the tolerance
        (0.97, 0, 993),  # 1.0 is coarser by 3 %: the finer level is shrunk
        (1.0, 1, 256),
        (1.019, 1, 256),
        (1.03, 1, 264),
        (2.0, 1, 512),
        (4.0, 2, 256),
        (8.0, 2, 512),
    ],
)
def test_mpp_takes_the_nearest_finer_level(wanted, level, size):
    chosen = choose_level(fake(), 256, mpp=wanted)
    assert (chosen.level, chosen.size, chosen.resized) == (level, size, size != 256)
    assert chosen.level_mpp == pytest.approx(0.25 * (1, 4, 16)[level])


def test_the_tolerance_holds_to_the_digit():
    slide = fake(mpp=(0.5, 0.5), downsamples=(1.0,))
    assert choose_level(slide, 1000, mpp=0.5 / (1 + TOLERANCE)).size == 1000
    assert choose_level(slide, 1000, mpp=0.5 * (1 + TOLERANCE)).size == 1000
    assert choose_level(slide, 1000, mpp=0.5 * (1 + TOLERANCE) + 0.001).size == 1022
    with pytest.raises(ArgumentError):
        choose_level(slide, 1000, mpp=0.5 / (1 + TOLERANCE) - 0.001)


def test_a_slide_is_never_enlarged():
    with pytest.raises(ArgumentError, match=r"a\.svs has mpp 0\.25, coarser than the wanted 0\.2: .*enlarged"):
        choose_level(fake(), 256, mpp=0.2)
    with pytest.raises(ArgumentError, match=r"magnification 20, less than the wanted 40: .*enlarged"):
        choose_level(fake(openslide__objective_power="20"), 256, magnification=40)


@pytest.mark.parametrize(
    ("wanted", "level", "size"), [(40, 0, 224), (20, 0, 448), (10, 1, 224), (5, 1, 448), (2.5, 2, 224)]
)
def test_magnification_goes_by_objective_power(wanted, level, size):
    # An mpp of 0.5 is not that of 40x, so that an answer by mpp would differ.
    slide = fake(mpp=(0.5, 0.5), openslide__objective_power="40")
    assert choose_level(slide, 224, magnification=wanted) == LevelChoice(
        level, size, 0.5 * (1, 4, 16)[level], size != 224
    )


def test_magnification_is_never_made_of_mpp():
    with pytest.raises(SlideError, match=r"a\.svs does not say its objective power.*mpp=0\.5"):
        choose_level(fake(), 256, magnification=20)
    with pytest.raises(SlideError, match="objective power"):
        choose_level(fake(openslide__objective_power="0"), 256, magnification=20)


def test_objective_power_of_aperio_and_of_openslide():
    assert objective_power(fake(aperio__AppMag="20")) == 20
    assert objective_power(fake(openslide__objective_power="40", aperio__AppMag="20")) == 40
    assert objective_power(fake(openslide__objective_power="x")) is None
    assert objective_power(fake(openslide__objective_power="nan")) is None


def test_a_level_is_read_as_it_is():
    assert choose_level(fake(), 100) == LevelChoice(0, 100, 0.25, False)
    assert choose_level(fake(), 100, level=2) == LevelChoice(2, 100, 4.0, False)
    assert choose_level(fake(mpp=None), 100, level=1) == LevelChoice(1, 100, None, False)
    assert choose_level(fake(mpp=None), 100, level=1, mpp_override=0.3).level_mpp == pytest.approx(1.2)
    with pytest.raises(ArgumentError, match="levels 0 to 2, not 3"):
        choose_level(fake(), 100, level=3)


@pytest.mark.parametrize(
    ("mpp", "said"),
    [
        (None, "does not say its mpp"),
        ((0.00499, 0.00499), "reads 0.00499"),
        ((250.0, 250.0), "reads 250"),
        ((0.0, 0.0), "reads 0,"),
        ((-0.5, -0.5), "reads -0.5"),
        ((float("nan"), 0.5), "reads nan"),
        ((0.5, float("inf")), "reads inf"),
        ((0.5, 0.53), "0.5 across and 0.53 down"),
    ],
)
def test_an_mpp_that_cannot_be_believed_is_refused(mpp, said):
    slide = fake(mpp=mpp)
    with pytest.raises(SlideError) as caught:
        choose_level(slide, 256, mpp=1.0)
    message = str(caught.value)
    for part in (said, "/slides/a.svs", "mpp_override=", "--mpp-override", "column 'mpp'"):
        assert part in message
    assert mpp_problem(slide) == message
    assert choose_level(slide, 256, mpp=0.5, mpp_override=0.25) == LevelChoice(0, 512, 0.25, True)


@pytest.mark.parametrize(
    ("mpp", "believed"),
    [
        ((0.05, 0.05), True),
        ((0.04999, 0.05), False),
        ((0.05, 0.04999), False),
        ((40.0, 40.0), True),
        ((40.001, 40.0), False),
        ((40.0, 40.001), False),
        ((0.5, 0.5249), True),
        ((0.5249, 0.5), True),
        ((0.5, 0.5251), False),
        ((0.5251, 0.5), False),
    ],
)
def test_the_limits_of_belief(mpp, believed):
    assert (mpp_problem(fake(mpp=mpp)) is None) == believed
    assert (choose_level(fake(mpp=mpp), 8).level_mpp is None) != believed


@pytest.mark.parametrize(
    ("power", "known"), [("0.5", 0.5), ("0.499", None), ("200", 200.0), ("200.1", None), ("-20", None)]
)
def test_the_limits_of_a_magnification(power, known):
    assert objective_power(fake(openslide__objective_power=power)) == known
    assert objective_power(fake(openslide__objective_power=power, aperio__AppMag="20")) == (known or 20)


def test_values_at_the_limits_are_taken():
    assert choose_level(fake(), 1) == LevelChoice(0, 1, 0.25, False)
    assert choose_level(fake(mpp=None), 8, level=0, mpp_override=0.05).level_mpp == 0.05
    assert choose_level(fake(mpp=None), 8, level=0, mpp_override=40.0).level_mpp == 40.0
    for wrong in (0.0499, 40.001):
        with pytest.raises(ArgumentError, match=f"mpp_override={wrong}"):
            choose_level(fake(), 8, mpp_override=wrong)
    assert choose_level(fake(), 1, mpp=0.3).size == 1  # a window is never nothing
    assert choose_level(fake(downsamples=(1.0, 2.0)), 3, mpp=0.3).size == 4
    for wanted in (float("inf"), 0.0):
        with pytest.raises(ArgumentError, match="magnification="):
            choose_level(fake(), 8, magnification=wanted)


def test_mpp_is_the_mean_of_across_and_down():
    assert slide_mpp(fake(mpp=(0.50, 0.52))) == pytest.approx(0.51)
    assert slide_mpp(fake(mpp=(0.50, 0.52)), 0.25) == 0.25


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"mpp": 0.5, "level": 0}, "mpp=0.5 and level=0"),
        ({"mpp": 0.5, "magnification": 20}, "give only one"),
        ({"mpp": 0}, "mpp=0"),
        ({"mpp": float("nan")}, "mpp=nan"),
        ({"magnification": -1}, "magnification=-1"),
        ({"level": -1}, "level=-1"),
        ({"mpp_override": 0.00499}, "mpp_override=0.00499"),
        ({"mpp_override": float("nan")}, "mpp_override=nan"),
        ({"tile_size": 0}, "tile_size=0"),
    ],
)
def test_arguments_that_fit_no_slide(how, message):
    with pytest.raises(ArgumentError, match=message):
        choose_level(fake(), **({"tile_size": 256} | how))


def test_real_slides(real):
    with open_slide(real("CMU-1-Small-Region.svs")) as slide:
        assert choose_level(slide, 224, mpp=0.5) == LevelChoice(0, 224, 0.499, False)
        assert choose_level(slide, 224, mpp=1.0).size == 449
        assert choose_level(slide, 224, magnification=10).size == 448
    with open_slide(real("CMU-1-Small-Region.jpeg.tiff")) as slide:
        with pytest.raises(SlideError, match=r"CMU-1-Small-Region\.jpeg\.tiff reads 0\.00499,"):
            choose_level(slide, 224, mpp=0.5)
        assert choose_level(slide, 224, mpp=0.5, mpp_override=0.499).size == 224
    with open_slide(real("gcp-camelyon-multiframe-jpeg.dcm")) as slide:
        assert choose_level(slide, 64, mpp=29).size == 64  # an overview of 28.97 is believed ...
        with pytest.raises(ArgumentError, match=r"28\.9\d+, coarser than the wanted 0\.5"):
            choose_level(slide, 64, mpp=0.5)  # ... and is never taken for a fine level


def test_levels_of_a_written_pyramid(tmp_path):
    write_slide(tmp_path / "a.tiff", np.full((600, 600, 3), 200, np.uint8), mpp=0.25)
    with open_slide(tmp_path / "a.tiff") as slide:
        assert choose_level(slide, 64, mpp=0.5) == LevelChoice(1, 64, pytest.approx(0.5), False)
        assert choose_level(slide, 64, mpp=0.75).size == 96
