"""Features in a store: the same bytes as in a folder, and going on from there on another machine."""

from __future__ import annotations

import time

import numpy as np
import pytest
from test_embedding_job import job

from cellmix_dali import TileRecipe
from cellmix_dali.embedding import FeatureBags, read_features
from cellmix_dali.storage import sending
from cellmix_dali.tiling import TilingSettings, tile_slides

OUT = "s3://archive/out"


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def features(found):
    return {name: of for name, of in found.items() if name.endswith((".h5", ".pt", ".parquet"))}


def in_store(store):
    return {name.removeprefix("archive/out/"): of for name, of in list(store.objects.items()) if "/out/" in name}


@pytest.mark.parametrize("file_format", ["trident", "clam", "parquet"])
def test_features_in_a_store_are_those_of_a_folder(store, rendered, tmp_path, monkeypatch, file_format):
    slides, local = [each.path for each in rendered], tmp_path / "local"
    job(slides, local, file_format=file_format)
    expected = {of.relative_to(local).as_posix(): of.read_bytes() for of in local.rglob("*") if of.is_file()}

    monkeypatch.setattr(sending, "_PAUSE", 0.02)
    monkeypatch.setattr(sending, "_AGAIN", 0.0)

    def noted():
        """Whether the store has features, and what says that they are whole."""
        found = in_store(store)
        return features(found) and slides[0].stem.encode() in found.get("job/journal.jsonl", b"")

    def end(state):
        until = time.monotonic() + 10
        while state.slides_done and not noted() and time.monotonic() < until:
            time.sleep(0.01)
        if state.slides_done:
            raise Killed

    with pytest.raises(Killed):
        job(slides, OUT, file_format=file_format, progress=end)
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / "another"))
    before = features(in_store(store))
    count = len(store.asked)
    result = job(slides, OUT, file_format=file_format, resume=True)
    assert features(in_store(store)) == features(expected)
    assert before
    assert set(in_store(store)) == {*expected, "sent.json"}
    again = {of.path for of in store.asked[count:] if of.method == "PUT"}
    first = [f"archive/out/{name}" for name in before if slides[0].stem in name]
    assert first
    assert not again & set(first)  # it is not made again
    if file_format == "trident":
        found, coords = read_features(f"{OUT}/{rendered[0].path.stem}.h5")
        assert len(found) == len(coords) == result.slides[0].record.tiles


def test_tables_shards_coordinates_and_bags_are_read_from_a_store(store, rendered, tmp_path):
    for each in rendered:
        store.objects[f"archive/in/{each.path.name}"] = each.path.read_bytes()
    settings = {"tile_size": 256, "tissue": 0.0}
    job("s3://archive/in", "s3://archive/features", recipe=TileRecipe(**settings))
    local = tmp_path / "local"
    job([each.path for each in rendered], local, recipe=TileRecipe(**settings))
    want = {path.name: read_features(path) for path in sorted(local.glob("*.h5"))}
    assert len(want) == 2

    def same(folder):
        for name, (features_, coords) in want.items():
            found, places = read_features(f"{folder}/{name}")
            np.testing.assert_array_equal(places, coords)
            np.testing.assert_allclose(found, features_, atol=1e-5)

    same("s3://archive/features")
    # A table whose slides lie in a store, and which does so itself; finished tiles; coordinates.
    for name, coords_only in (("table", True), ("shards", False)):
        of = TilingSettings(**settings, coords_only=coords_only)
        tile_slides("s3://archive/in", f"s3://archive/{name}", of, workers=0)
        job(f"s3://archive/{name}", tmp_path / name, recipe=TileRecipe(**settings))
        if coords_only:
            same(tmp_path / name)
        else:  # JPEG once more, of what was JPEG
            assert {path.name for path in (tmp_path / name).glob("*.h5")} == set(want)
    job("s3://archive/in", tmp_path / "by", recipe=TileRecipe(**settings), coordinates="s3://archive/features")
    same(tmp_path / "by")
    bags, here = FeatureBags("s3://archive/features"), FeatureBags(local)
    assert bags.names == here.names
    assert [bags.count(number) for number in (0, 1)] == [here.count(number) for number in (0, 1)]


def test_the_command_embeds_a_bucket_into_it(store, run, rendered, tmp_path):
    for slide in rendered:
        store.objects[f"archive/{slide.path.name}"] = slide.path.read_bytes()
    given = ("--model", "stand_ins:patches", "--level", 0, "--tile-size", 64, "--tissue", 0, "--deterministic")
    code, text, errors = run("embed", "az://archive/", "--out", "az://archive/out", *given)
    assert code == 0, errors
    assert "written to az://archive/out" in " ".join(text.split())
    code, _, errors = run("embed", "az://archive/", "--out", tmp_path / "local", *given)
    assert code == 0, errors
    found = features(in_store(store))
    assert len(found) == 2
    for name, of in found.items():
        assert of == (tmp_path / "local" / name).read_bytes()
