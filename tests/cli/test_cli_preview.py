"""`cellmix-dali preview`: real operators on real tiles, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellmix_dali import CellMix, TileTable, open_slide
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import METHODS, make_mixer
from cellmix_dali.pipelines import read_table
from cellmix_dali.previews import choose_tiles
from cellmix_dali.previews.augmented_tiles import augment_tiles
from cellmix_dali.previews.mixed_tiles import middle_patch_size, mix_tiles
from cellmix_dali.shards import Encoding, ShardWriter, tile_rows, write_tiles
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.tables import TileRecipe
from cellmix_dali.tables.grids import tissue_shares

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run) -> Run:
    """Run `cellmix-dali preview`."""
    return partial(run, "preview")


def colours(path: Path) -> int:
    with Image.open(path) as picture:
        assert picture.size[0] > 500
        found = picture.convert("RGB").getcolors(1 << 24)
        assert found is not None
        return len(found)


def test_every_method_on_a_slide(run: Run, rendered: list[RenderedSlide], tmp_path: Path) -> None:
    out = tmp_path / "preview.png"
    code, text, err = run(rendered[0].path, "--tile-size", 128, "--out", out)
    assert (code, err) == (0, "")
    assert "left out" not in text
    assert colours(out) > 5000
    with Image.open(out) as picture:  # a row a method, and one before them
        assert picture.size[1] > 80 * (len(METHODS) + 1)


def test_a_real_slide_at_a_resolution(run: Run, real: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "preview.png"
    code, text, err = run(
        real("CMU-1-Small-Region.svs"), "--mpp", 1.0, "--tile-size", 224, "--batch-size", 6,
        "--method", "cellmix_group", "--method", "CUTMIX", "--out", out,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "written to" in text
    assert colours(out) > 5000


def test_augmentations(run: Run, rendered: list[RenderedSlide], tmp_path: Path) -> None:
    """Rows under one another, and on the console what each is; methods only where they are asked for."""
    out, recipe = tmp_path / "preview.png", tmp_path / "mine.yaml"
    recipe.write_text("- turn\n- hed_jitter: {alpha: 0.3}\n")
    code, text, err = run(
        rendered[0].path, "--tile-size", 128, "--out", out, "--augment", "light", "--augment", str(recipe)
    )
    assert (code, err) == (0, "")
    assert "light: [turn(p=1.0)," in text
    assert "hed_jitter(alpha=(0.7, 1.3)" in text
    with Image.open(out) as picture:
        three = picture.size[1]
    assert run(rendered[0].path, "--tile-size", 128, "--out", out, "--augment", "light", "--method", "CutMix")[0] == 0
    with Image.open(out) as picture:
        assert picture.size[1] == three
    code, _, err = run(rendered[0].path, "--out", out, "--augment", "lihgt")
    assert code != 0
    assert "light" in err
    chosen = choose_tiles(rendered[0].path, 4, TileRecipe(tile_size=64), tile_size=64, labels=False, seed=0)
    (solarised,) = augment_tiles(chosen, ["solarise"], seed=1)
    plain, _ = mix_tiles(chosen, [])
    inverted = (solarised.images != plain).any(axis=(1, 2, 3))
    want = np.where(plain >= 128, 255 - plain, plain)
    np.testing.assert_array_equal(solarised.images[inverted], want[inverted])


def test_tiles_of_a_slide_show_tissue_and_are_spread(rendered: list[RenderedSlide]) -> None:
    path = rendered[0].path
    chosen = choose_tiles(path, 8, TileRecipe(96, tissue=0.9), seed=1)
    assert len({(x, y) for x, y in zip(chosen.table.x, chosen.table.y, strict=True)}) == 8
    with open_slide(path) as slide:
        assert (tissue_shares(slide, chosen.table) >= 0.9).all()
        assert np.ptp(chosen.table.y) > slide.levels[0].height / 2
    again = choose_tiles(path, 8, TileRecipe(96, tissue=0.9), seed=1)
    assert again.table.arrow.equals(chosen.table.arrow)
    other = choose_tiles(path, 8, TileRecipe(96, tissue=0.9), seed=2)
    assert not other.table.arrow.equals(chosen.table.arrow)
    np.testing.assert_array_equal(chosen.labels(), np.eye(8))


def test_pixels_and_weights_are_those_of_the_plans(rendered: list[RenderedSlide]) -> None:
    chosen = choose_tiles(rendered[1].path, 8, tile_size=128)
    methods = ["CellMix", "CellMix-Random4", "Cutout", "CutMix", "FMix"]
    images, mixed = mix_tiles(chosen, methods, patch_size=32, fix_ratio=0.25, seed=9)
    np.testing.assert_array_equal(images, read_table(chosen.table, 128))
    assert [each.method for each in mixed] == methods
    for each in mixed:
        mixer = make_mixer(each.method, seed=9)
        key = {"epoch": 0, "iteration": 0}
        plan = mixer.draw(8, 128, 32, 0.25, **key) if isinstance(mixer, CellMix) else mixer.draw(8, 128, **key)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(each.images, plan.apply(images))
        np.testing.assert_allclose(each.weights, plan.weights, atol=1e-6)
        assert (each.images != images).any()


def test_a_table_gives_classes_in_turn(run: Run, table: TileTable, tmp_path: Path) -> None:
    path = tmp_path / "tiles.parquet"
    table.save(path)
    chosen = choose_tiles(path, 6)
    assert chosen.tile_size == 256
    assert chosen.table.label is not None
    assert chosen.table.label.tolist() == [0, 1, 2, 0, 1, 2]
    assert chosen.classes == ("class 0", "class 1", "class 2")
    np.testing.assert_array_equal(chosen.labels(), np.eye(3)[[0, 1, 2, 0, 1, 2]])
    assert choose_tiles(path, 6, labels=False).classes is None
    code, text, err = run(path, "--batch-size", 6, "--tile-size", 96, "--out", tmp_path / "p.png")
    assert (code, err) == (0, "")
    assert "CellMix-Group4 is left out: " in text
    assert "CellMix-Random4 is left out: " in text
    assert colours(tmp_path / "p.png") > 5000


def test_class_shares(table: TileTable, tmp_path: Path) -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(3), len(table)).astype(np.float32)
    path = tmp_path / "tiles.arrow"
    table.with_labels(shares).save(path)
    chosen = choose_tiles(path, 4)
    np.testing.assert_allclose(chosen.labels().sum(axis=1), 1, atol=1e-5)
    assert chosen.labels().shape == (4, 3)


def test_a_folder_of_shards(run: Run, table: TileTable, tmp_path: Path) -> None:
    few = table.select(np.arange(8))
    pixels = read_table(few)
    (tmp_path / "job").mkdir()
    with ShardWriter(tmp_path / "job", "slide-1") as writer:
        for row in range(8):
            about = {"x": int(few.x[row]), "y": int(few.y[row])}
            writer.add(Encoding(format="png").encode(pixels[row]), "png", about=about, label=row % 2)
        written = writer.close()
    rows = tile_rows(
        few.slides[0], x=few.x, y=few.y, size=few.size, level=few.level, tile_size=256, mpp=None, tissue=None,
        label=np.arange(8) % 2, written=written,
    )  # fmt: skip
    write_tiles(tmp_path / "job", [rows], classes=["benign", "malignant"])
    chosen = choose_tiles(tmp_path / "job", 4)
    assert chosen.classes == ("benign", "malignant")
    images, _ = mix_tiles(chosen, ["CutMix"])
    of = {(x, y): pixels[row] for row, (x, y) in enumerate(zip(few.x.tolist(), few.y.tolist(), strict=True))}
    for place in range(4):
        np.testing.assert_array_equal(images[place], of[int(chosen.table.x[place]), int(chosen.table.y[place])])
    for source in (tmp_path / "job", tmp_path / "job" / "tiles.parquet"):
        code, _, err = run(source, "--method", "mixup", "--batch-size", 4, "--out", tmp_path / "p.png")
        assert (code, err) == (0, "")


@pytest.mark.parametrize(("tile_size", "patch_size"), [(256, 64), (224, 56), (384, 96), (240, 60), (250, 50), (251, 1)])
def test_the_patch_size_by_default(tile_size: int, patch_size: int) -> None:
    assert middle_patch_size(tile_size) == patch_size


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere/slide.svs"], "no slide at /nowhere/slide.svs"),
        (["{slide}", "--method", "cutmax"], "Did you mean 'CutMix'?"),
        (["{slide}", "--method", "CellMix-Group4", "--batch-size", "6"], "does not divide batch_size=6"),
        (["{slide}", "--patch-size", "100"], "patch_size=100 does not divide"),
        (["{slide}", "--fix-ratio", "2"], "fix_ratio=2.0"),
        (["{slide}", "--mpp", "0.1"], "coarser than the wanted 0.1"),
        (["{slide}", "--tile-size", "512"], "are needed"),
        (["{slide}", "--tile-size", "4096"], "too small for one tile"),
        (["{slide}", "--batch-size", "1"], "--batch-size"),
        (["{table}", "--mpp", "0.5"], "mpp is of slides"),
        (["{table}", "--batch-size", "64"], "32 tiles, and 64 are needed"),
        (["{empty}"], "no tile table"),
        (["{garbage}"], "cannot be read"),
        (["{slide}", "--out", "preview.bmp"], "Unknown kind of picture"),
    ],
)
def test_what_it_refuses(
    run: Run, rendered: list[RenderedSlide], table: TileTable, tmp_path: Path, arguments: list[str], words: str
) -> None:
    names = {name: tmp_path / name for name in ("empty", "table.parquet", "garbage.arrow")}
    names["empty"].mkdir()
    table.save(names["table.parquet"])
    names["garbage.arrow"].write_bytes(b"no table")
    paths = {name.split(".")[0]: path for name, path in names.items()} | {"slide": rendered[0].path}
    given = [argument.format(**paths) for argument in arguments]
    code, _, err = run(*given, *([] if "--out" in given else ["--out", tmp_path / "p.png"]))
    assert code == 2
    assert words in err


def test_too_few_labels(table: TileTable, tmp_path: Path) -> None:
    assert table.label is not None
    path = tmp_path / "tiles.parquet"
    table.with_labels(np.where(np.arange(len(table)) < 3, 0, -1)).save(path)
    with pytest.raises(ArgumentError, match="Only 3 tiles"):
        choose_tiles(path, 4)
    assert len(choose_tiles(path, 4, labels=False).table) == 4
