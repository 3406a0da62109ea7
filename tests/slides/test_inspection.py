"""What inspect says of slides."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.slides.inspection import add_decoders, inspect_slide, inspection_table
from cellmix_dali.slides.stream_kinds import KINDS, PIXELS, DecoderTrial, decoder_routes, stream_kind

ALL_RIGHT = dict.fromkeys(KINDS, DecoderTrial(None, 1))
NO_RGB = ALL_RIGHT | {"rgb jpeg": DecoderTrial("does not keep the colours of rgb jpeg", 240)}


def shown(info):
    console = Console(width=160, file=io.StringIO())
    console.print(inspection_table(info))
    return console.file.getvalue()


def test_a_rendered_pyramid(rendered):
    info = inspect_slide(rendered[0].path)
    assert info["path"] == str(rendered[0].path)
    assert (info["vendor"], info["route"]) == ("aperio", "direct")
    assert info["reason"].endswith(".")
    assert (info["mpp"], info["mpp_file"], info["mpp_problem"]) == (0.5, [0.5, 0.5], None)
    assert info["objective_power"] == 20
    assert info["bounds"] == {"x": 0, "y": 0, "width": 1024, "height": 1024}
    assert [level["downsample"] for level in info["levels"]] == [1, 4, 16]
    assert info["levels"][1] == {
        "level": 1,
        "width": 256,
        "height": 256,
        "downsample": 4.0,
        "mpp": 2.0,
        "block_width": 256,
        "block_height": 256,
        "columns": 1,
        "rows": 1,
        "blocks": 1,
        "compression": "jpeg",
        "colour": "rgb",
    }
    assert info["levels"][0]["blocks"] == 16
    assert json.loads(json.dumps(info, allow_nan=False)) == info


def test_an_absurd_mpp_is_told_and_overridden(real):
    path = real("CMU-1-Small-Region.jpeg.tiff")
    info = inspect_slide(path)
    assert info["mpp"] is None
    assert info["mpp_file"] == pytest.approx([0.00499, 0.00499])
    assert "0.00499" in info["mpp_problem"]
    assert [level["mpp"] for level in info["levels"]] == [None]
    told = shown(info)
    assert "mpp problem" in told
    assert "--mpp-override" in told
    fixed = inspect_slide(path, mpp_override=0.499)
    assert (fixed["mpp"], fixed["levels"][0]["mpp"]) == (0.499, 0.499)
    assert "overridden; the file: " in shown(fixed)
    with pytest.raises(ArgumentError, match=r"mpp_override=0\.00499"):
        inspect_slide(path, mpp_override=0.00499)


def test_a_slide_without_blocks(only_openslide):
    info = inspect_slide(only_openslide)
    assert (info["vendor"], info["route"], info["objective_power"]) == ("dicom", "openslide", None)
    assert info["mpp"] == 0.5
    (level,) = info["levels"]
    assert (level["width"], level["height"]) == (1152, 700)
    assert {level[name] for name in ("block_width", "columns", "blocks", "compression", "colour")} == {None}
    assert "1152x700" in shown(info)
    json.dumps(info, allow_nan=False)


def test_a_file_that_is_no_slide(real, tmp_path):
    with pytest.raises(SlideError, match="There is no slide at"):
        inspect_slide(tmp_path / "gone.svs")
    with pytest.raises(SlideError, match="not a slide"):
        inspect_slide(real("histolab-broken.svs"))


def test_for_people(rendered):
    info = inspect_slide(rendered[1].path)
    told = shown(info | {"path": "/data/[bold]1[/].tiff", "reason": "For [red]reasons[/red]."})
    for part in ("/data/[bold]1[/].tiff", "generic-tiff", "direct: For [red]reasons[/red].", "0.5 microns per pixel"):
        assert part in told
    assert "objective power  unknown" in told
    assert "512x512" in told
    assert "ycbcr" in told
    assert "bounds" not in told
    assert "mpp problem" not in told
    part = info | {"bounds": {"x": 10, "y": 20, "width": 300, "height": 400}}
    assert "300 x 400 at 10, 20" in shown(part)


def test_on_the_cpu_one_decoder_takes_all():
    routes = decoder_routes("cpu", {})
    assert set(routes) == {*KINDS, PIXELS}
    assert {route.decoder for route in routes.values()} == {"cpu"}
    assert {routes[kind].reason for kind in KINDS} == {"decoded by fn.decoders.image on the CPU"}
    assert "OpenSlide" in routes[PIXELS].reason


def test_the_gpu_decodes_the_kinds_that_it_is_right_about():
    right, wrong = decoder_routes("gpu", ALL_RIGHT), decoder_routes("gpu", NO_RGB)
    assert {right[kind].decoder for kind in KINDS} == {"mixed"}
    assert "on the GPU, which was tried: at most 1 of 255" in right["rgb jpeg"].reason
    assert (wrong["rgb jpeg"].decoder, wrong["rgb jpeg"].difference) == ("cpu", 240)
    assert wrong["rgb jpeg"].reason.endswith("because the GPU's decoder does not keep the colours of rgb jpeg")
    assert wrong["jpeg 2000"] == right["jpeg 2000"]
    both = decoder_routes("gpu", NO_RGB | {"jpeg 2000": DecoderTrial("cannot decode jpeg 2000")})
    assert (both["jpeg 2000"].decoder, both["jpeg 2000"].difference) == ("cpu", None)
    assert both["jpeg 2000"].reason.endswith("because the GPU's decoder cannot decode jpeg 2000")
    assert (both[PIXELS].decoder, both[PIXELS].difference) == ("cpu", None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CMU-1-Small-Region.svs", "rgb jpeg"),
        ("CMU-1-Small-Region.jpeg.tiff", "ycbcr jpeg 4:2:0"),
        ("CMU-1-Small-Region.jp2.tiff", "jpeg 2000"),
        ("gcp-camelyon-multiframe-jpeg.dcm", "ycbcr jpeg 4:2:0"),
        ("not compressed", PIXELS),
    ],
)
def test_each_level_is_told_its_decoder(real, only_openslide, name, kind):
    info = inspect_slide(only_openslide if kind == PIXELS else real(name))
    for level in info["levels"]:
        assert stream_kind(level["compression"], level["colour"]) == kind
    assert "decoder (" not in shown(info)
    routes = decoder_routes("gpu", NO_RGB)
    add_decoders(info, "gpu", routes)
    assert info["device"] == "gpu"
    for level in info["levels"]:
        assert (level["decoder"], level["decoder_reason"]) == routes[kind][:2]
    assert routes[kind].reason in " ".join(shown(info).split())
    assert json.loads(json.dumps(info, allow_nan=False)) == info


def test_levels_that_are_decoded_otherwise_are_told_apart(rendered):
    info = inspect_slide(rendered[0].path)
    info["levels"][1] |= {"compression": "jpeg2000"}
    add_decoders(info, "gpu", decoder_routes("gpu", NO_RGB))
    told = " ".join(shown(info).split())
    assert "decoder (gpu) levels 0, 2: decoded by" in told
    assert "; level 1: decoded by" in told
