"""The embedding job: files that TRIDENT and CLAM read, whatever happens while they are made."""

from __future__ import annotations

import errno
import json
import time
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from stand_ins import damage_block, patches, told

from cellmix_dali import TileRecipe, TileTable, open_slide
from cellmix_dali.collection import CollectionIndex, IndexSettings, make_index
from cellmix_dali.embedding import (
    EmbedResult,
    EmbedState,
    FeatureModel,
    ModelSettings,
    embed,
    embed_slides,
    files,
    open_model,
    read_features,
)
from cellmix_dali.embedding.asked import slides_of
from cellmix_dali.embedding.sources import Sources, _names, find_sources
from cellmix_dali.embedding.stream import SlideTiles
from cellmix_dali.errors import ArgumentError, NotReadError
from cellmix_dali.storage.aside import WriteError
from cellmix_dali.tables import laying
from cellmix_dali.tables.coordinates import read_h5
from cellmix_dali.tables.laying import lay_tiles
from cellmix_dali.tiling import JobShard, TilingSettings, tile_slides
from cellmix_dali.tiling.slides import JobSlide
from cellmix_dali.training import ModelConfiguration

RECIPE = TileRecipe(64, tissue=0.0, mpp=0.5)
Run = Callable[..., tuple[int, str, str]]


def model(**settings: Any) -> FeatureModel:
    return FeatureModel(patches(), settings=ModelSettings(batch_size=16, **settings), name="patches")


def job(slides: Any, out: Path, **options: Any) -> EmbedResult:
    return embed_slides(slides, out, options.pop("of", None) or model(), options.pop("recipe", RECIPE), **options)


def laid(path: Path, recipe: TileRecipe = RECIPE) -> TileTable:
    with open_slide(path) as slide:
        return lay_tiles(slide, recipe).table


def made(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.h5"))}


def test_files_are_those_of_trident(tiny: list[Path], tmp_path: Path) -> None:
    states: list[EmbedState] = []
    result = job(tiny, tmp_path / "out", progress=states.append)
    assert not result.failed
    assert result.tiles == sum(len(laid(path)) for path in tiny) == result.tiles_now
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"job", *(f"{path.stem}.h5" for path in tiny)}
    for path in tiny:
        table = laid(path)
        with h5py.File(tmp_path / "out" / f"{path.stem}.h5") as file, open_slide(path) as slide:
            assert set(file) == {"features", "coords"}
            coords = file["coords"]
            np.testing.assert_allclose(file["features"][()], embed(table, model())[0], atol=1e-6)
            assert coords.dtype == np.int64
            assert coords[()].tolist() == table.positions.tolist()
            assert file["features"].maxshape == (None, 5)
            assert dict(coords.attrs) == {
                "patch_size": 64,
                "patch_size_level0": 64,
                "level0_magnification": 20,
                "target_magnification": 20,
                "overlap": 0,
                "name": path.stem,
                "savetodir": ".",
                "level0_width": slide.levels[0].width,
                "level0_height": slide.levels[0].height,
            }
            assert file["features"].attrs["name"] == path.stem
            again = read_h5(tmp_path / "out" / f"{path.stem}.h5", slide)
            assert again.positions.tolist() == table.positions.tolist()
            assert again.size.tolist() == table.size.tolist()
    last = states[-1]
    assert (last.slides, last.slides_done, last.slides_planned) == (3, 3, 3)
    assert last.tiles == last.tiles_done == result.tiles
    assert last.seconds_left == 0
    report = json.loads((tmp_path / "out" / "job" / "report.json").read_text())
    assert report["totals"] == {"slides": 3, "failed": 0, "tiles": result.tiles, "bad_tiles": 0}
    assert [slide["files"] for slide in report["slides"]] == [[f"{path.stem}.h5"] for path in tiny]
    assert "ImageNet" in report["notes"][0]


def test_files_are_those_of_clam(tiny: list[Path], tmp_path: Path) -> None:
    job(tiny, tmp_path / "out", file_format="clam", of=model(dtype="float16"))
    for path in tiny:
        with h5py.File(tmp_path / "out" / "h5_files" / f"{path.stem}.h5") as file:
            features, coords = file["features"], file["coords"]
            assert (features.dtype, coords.dtype) == (np.float32, np.int32)
            assert not len(features.attrs)
            assert not len(coords.attrs)
            assert coords[()].tolist() == laid(path).positions.tolist()
            tensor = torch.load(tmp_path / "out" / "pt_files" / f"{path.stem}.pt", weights_only=True)
            assert torch.equal(tensor, torch.from_numpy(features[()]))


def test_a_table_of_features(tiny: list[Path], tmp_path: Path) -> None:
    job(tiny[:1], tmp_path / "out", file_format="parquet")
    path = tmp_path / "out" / f"{tiny[0].stem}.parquet"
    features, coords = read_features(path)
    np.testing.assert_allclose(features, embed(laid(tiny[0]), model())[0], atol=1e-6)
    assert coords.tolist() == laid(tiny[0]).positions.tolist()
    assert json.loads(pq.read_schema(path).metadata[b"tiles"])["patch_size"] == 64


def test_from_tables_shards_and_coordinates(tiny: list[Path], tmp_path: Path) -> None:
    job(tiny, tmp_path / "grid")
    wanted = {path.stem: read_features(tmp_path / "grid" / f"{path.stem}.h5") for path in tiny}
    settings = TilingSettings(tile_size=64, tissue=0.0, format="png")
    tile_slides(tiny, tmp_path / "tiled", settings, workers=0)
    TileTable.concat([laid(path) for path in tiny]).save(tmp_path / "tiles.arrow")
    for name, sources, options in (
        ("table", tmp_path / "tiles.arrow", {}),
        ("shards", tmp_path / "tiled", {}),
        ("coords", tiny, {"coordinates": tmp_path / "grid"}),
    ):
        result = job(sources, tmp_path / name, **options)
        assert not result.failed
        for stem, (features, coords) in wanted.items():
            found = read_features(tmp_path / name / f"{stem}.h5")
            assert found[1].tolist() == coords.tolist()
            np.testing.assert_allclose(found[0], features, atol=1e-5)
    with pytest.raises(ArgumentError, match="There are no coordinates"):
        job(tiny, tmp_path / "new", coordinates=tmp_path)
    with pytest.raises(ArgumentError, match="both say which tiles"):
        job(tmp_path / "tiles.arrow", tmp_path / "new", coordinates=tmp_path)


def test_tissue_and_resolution_are_the_recipes_or_the_models(tiny: list[Path], tmp_path: Path) -> None:
    own = FeatureModel(told()[0], ModelConfiguration.of({"mpp": 1.0, "input_size": (3, 32, 32)}, "a test"))
    result = job(tiny[:1], tmp_path / "out", of=own, recipe=TileRecipe(32, tissue=0.0))
    assert "1 microns per pixel: the model's own" in result.notes
    record = result.slides[0].record
    assert record is not None
    assert (record.window, record.mpp) == (64, 1.0)
    assert record.tiles == len(laid(tiny[0], TileRecipe(32, tissue=0.0, mpp=1.0)))
    result = job(tiny[:1], tmp_path / "other", of=own, recipe=TileRecipe(64, tissue=0.0, mpp=0.5))
    assert len([note for note in result.notes if "was made for" in note]) == 2


def test_bad_slides_and_tiles_are_reported(slides: list[Path], tmp_path: Path, run: Run) -> None:
    damage_block(slides[1], 2, 1)
    slides[0].write_bytes(slides[0].read_bytes()[:300])
    given = ["embed", *slides, "--model", "stand_ins:patches", "--mpp", 0.5, "--tile-size", 64, "--tissue", 0]
    code, out, _ = run(*given, "--out", tmp_path / "out", "--retry-seconds", 0)
    assert code == 3
    assert "1 tiles cannot be read" in out
    assert "1 of 3 slides failed" in out
    assert out.count(str(slides[0])) == 1
    lines = (tmp_path / "out" / "job" / "bad_tiles.jsonl").read_text().splitlines()
    assert [(json.loads(line)["slide"], json.loads(line)["x"], json.loads(line)["y"]) for line in lines] == [
        (str(slides[1]), 128, 64)
    ]
    features, coords = read_features(tmp_path / "out" / f"{slides[1].stem}.h5")
    assert len(features) == len(laid(slides[1])) - 1
    assert [128, 64] not in coords.tolist()
    code, _, _ = run(*given, "--out", tmp_path / "skipped", "--retry-seconds", 0, "--skip-bad-slides")
    assert code == 0
    # Mended, the slide that failed is done, and nothing else.
    slides[0].write_bytes(slides[2].read_bytes())
    code, out, _ = run(*given, "--out", tmp_path / "out", "--resume")
    assert "2 slides were done before" in out
    assert code == 3  # the bad tile is still left out
    assert (tmp_path / "out" / f"{slides[0].stem}.h5").exists()


def slow_job(slides: list[Path], out: Path, *, resume: bool = False) -> None:
    of = open_model("stand_ins:slow", ModelSettings(batch_size=8, deterministic=True))
    job(slides, out, of=of, recipe=TileRecipe(32, tissue=0.0, overlap=16, level=0), resume=resume)


@pytest.mark.slow
def test_a_job_goes_on_after_a_kill_to_the_same_bytes(tiny: list[Path], tmp_path: Path) -> None:
    slow_job(tiny, tmp_path / "whole")
    killed = get_context("spawn").Process(target=slow_job, args=(tiny, tmp_path / "killed"))
    killed.start()
    end = time.monotonic() + 120
    while not (tmp_path / "killed" / "slide-1.h5").exists() and time.monotonic() < end:
        time.sleep(0.002)
    killed.kill()
    killed.join()
    killed.close()
    assert set(made(tmp_path / "killed")) < set(made(tmp_path / "whole"))
    slow_job(tiny, tmp_path / "killed", resume=True)
    assert made(tmp_path / "killed") == made(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.part"))


def test_a_full_disk_stops_the_job_and_it_goes_on(
    tiny: list[Path], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["embed", *tiny, "--model", "stand_ins:patches", "--level", 0, "--tile-size", 64, "--out", tmp_path / "out"]
    write, count = files.write_aside, []

    def full(path: Path) -> Any:
        count.append(path)
        if len(count) > 1:
            raise WriteError(f"{path} cannot be written: No space left on device.")
        return write(path)

    monkeypatch.setattr(files, "write_aside", full)
    code, _, error = run(*given)
    assert code == 1
    assert "No space left" in error
    assert "--resume" in error
    assert set(made(tmp_path / "out")) == {"slide-1.h5"}
    monkeypatch.undo()
    assert run(*given)[0] == 2
    code, out, _ = run(*given, "--resume")
    assert code == 0
    assert "1 slides were done before" in out
    assert len(made(tmp_path / "out")) == 3


def test_a_job_goes_on_with_the_same_alone(slides: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    job(slides, out)
    with pytest.raises(ArgumentError, match="holds an embedding job already"):
        job(slides, out)
    with pytest.raises(ArgumentError, match="tile_size was 64, is 32"):
        job(slides, out, resume=True, recipe=TileRecipe(32, tissue=0.0, mpp=0.5))
    other = FeatureModel(torch.nn.Flatten(), settings=ModelSettings(batch_size=16), name="patches")
    with pytest.raises(ArgumentError, match="weights digest"):
        job(slides, out, resume=True, of=other)
    before = made(out)
    (out / "slide-2.h5").write_bytes(b"")
    slides[2].write_bytes(slides[1].read_bytes())
    result = job(slides, out, resume=True)
    assert [slide.kept for slide in result.slides] == [True, False, False]
    now = made(out)
    assert now["slide-1.h5"] == before["slide-1.h5"]
    assert len(read_features(out / "slide-3.h5")[0]) == len(laid(slides[1]))


def test_shards_are_dealt_by_their_tiles(tiny: list[Path], tmp_path: Path) -> None:
    sources = find_sources(tiny, RECIPE)
    shares = [[slide.number for slide in slides_of(sources, JobShard(number, 2))] for number in (1, 2)]
    assert shares == [[0], [1, 2]]  # 24 tiles, and 15 + 8
    for number in (1, 2):
        job(tiny, tmp_path / "out", shard=JobShard(number, 2))
    job(tiny, tmp_path / "whole")
    assert set(made(tmp_path / "out")) == set(made(tmp_path / "whole"))
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"job-1-of-2", "job-2-of-2"}


@pytest.mark.parametrize("seconds", [0, 60])
def test_what_the_moment_keeps_from_being_read_is_tried_again(
    tiny: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Too few file handles, as the system says it, is of the moment as much as an error of the family."""
    find, failures = Sources._found, [OSError(errno.EMFILE, "Too many open files"), NotReadError("not now")]

    def found(sources: Sources, slide: JobSlide) -> SlideTiles:
        if slide.number == 1 and failures:
            raise failures.pop(0)
        return find(sources, slide)

    monkeypatch.setattr(Sources, "_found", found)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    statuses = [slide.status for slide in job(tiny, tmp_path / "out", retry_seconds=seconds).slides]
    assert statuses == (["done", "done", "done"] if seconds else ["done", "not read", "done"])


def test_features_by_an_index_are_the_same(tiny: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, place = TileRecipe(64, tissue=0.1, mpp=0.5), tmp_path / "collection.index"
    job(tiny, tmp_path / "plain", recipe=recipe)
    job(tiny, tmp_path / "first", recipe=recipe, index=place)
    assert len(CollectionIndex(place)) == len(tiny)

    def never(*_: object) -> None:
        raise AssertionError("looked for tissue that the index knows")

    monkeypatch.setattr(laying, "look_for_tissue", never)
    for number in (1, 2):
        job(tiny, tmp_path / "second", recipe=recipe, index=place, shard=JobShard(number, 2))
    assert made(tmp_path / "plain") == made(tmp_path / "first") == made(tmp_path / "second")


@pytest.mark.parametrize("tissue", [0.0, 0.1])
def test_a_slide_that_the_index_lacks_is_opened_by_its_file(tiny: list[Path], tmp_path: Path, tissue: float) -> None:
    """One that has changed since, too: a shard makes no index, so both can be."""
    recipe, place, changed = TileRecipe(64, tissue=tissue, mpp=0.5), tmp_path / "collection.index", tmp_path / "a.svs"
    changed.write_bytes(tiny[1].read_bytes())
    make_index([tiny[0], changed], place, IndexSettings(mpp=0.5, tile_size=64), workers=0)
    changed.write_bytes(tiny[0].read_bytes())
    slides = [tiny[0], tiny[1], changed]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number in (1, 2):
            assert not job(slides, tmp_path / "out", recipe=recipe, index=place, shard=JobShard(number, 2)).failed
    said = " ".join(str(warning.message) for warning in told)
    assert f"{tiny[1]} is not in {place}, so it is opened by its file" in said
    assert f"{changed} has changed since {place} was made" in said
    job(slides, tmp_path / "plain", recipe=recipe)
    assert made(tmp_path / "out") == made(tmp_path / "plain")
    (found,), (want,) = ((tmp_path / of).glob("job*/pictures/a.jpg") for of in ("out", "plain"))
    assert found.read_bytes() == want.read_bytes()  # not of what the index knew


def test_slides_of_one_name_have_files_of_their_own(tiny: list[Path], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / tiny[0].name).write_bytes(tiny[1].read_bytes())
    job([tiny[0], tmp_path / "a"], tmp_path / "out")
    assert set(made(tmp_path / "out")) == {"slide-1.h5", "slide-1-2.h5"}


def test_slides_of_several_scales_are_refused(tiny: list[Path], tmp_path: Path) -> None:
    recipe = TileRecipe(64, tissue=0.0)
    (tmp_path / "slides.csv").write_text(f"slide,mpp\n{tiny[0]},0.25\n{tiny[1]},0.5\n")
    with pytest.raises(ArgumentError, match=r"0\.25"):
        job(tmp_path / "slides.csv", tmp_path / "out", recipe=recipe)
    assert not job(tmp_path / "slides.csv", tmp_path / "out", recipe=recipe, mixed_resolutions=True).failed


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--shard", "3"), "such as 3/64"),
        (("--shard", "3/2"), "from 1 to 2"),
        (("--format", "gif"), "format"),
        (("--amp", "half"), "amp"),
        (("--layers", "a,a"), "each once"),
        (("--mpp", "0.5", "--level", "1"), "only one"),
    ],
)
def test_options_that_are_refused(run: Run, tmp_path: Path, given: tuple[str, ...], words: str) -> None:
    code, _, error = run("embed", "slides", "--model", "stand_ins:patches", "--out", tmp_path / "out", *given)
    assert code == 2
    assert words in error
    assert not (tmp_path / "out").exists()


def test_a_file_of_features_that_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = np.zeros((2, 3))
    with pytest.raises(ArgumentError, match="no datasets"):
        read_features(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["coords"] = np.zeros((3, 2), np.int64)
    with pytest.raises(ArgumentError, match="2 features and coordinates"):
        read_features(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes(b"nothing")
    with pytest.raises(ArgumentError, match="file of features"):
        read_features(tmp_path / "b.h5")


def test_a_name_of_its_own_is_not_given_to_another() -> None:
    assert _names([Path("/a/x.svs"), Path("/b/x.svs"), Path("/c/x-2.svs")]) == ["x", "x-3", "x-2"]
