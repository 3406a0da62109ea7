"""Tiling slides in a store, and reading the tiles from there: the same as from files."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from cellmix_dali._arguments import path_of
from cellmix_dali._urls import place_name
from cellmix_dali.errors import ArgumentError, NotReadError
from cellmix_dali.pipelines import read_table
from cellmix_dali.reading.shards import ShardReader
from cellmix_dali.shards import open_tiles
from cellmix_dali.storage.aside import write_aside
from cellmix_dali.tiling import TilingSettings, tile_slides

SETTINGS = TilingSettings(256, tissue=0.0)


def images(folder):
    found = {}
    for path in sorted((folder / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            found[path.name] = {each.name: tar.extractfile(each).read() for each in tar if each.name.endswith("jpg")}
    return found


@pytest.fixture
def archive(store, rendered):
    for each in rendered:
        store.objects[f"archive/in/{each.path.name}"] = each.path.read_bytes()
    store.objects["archive/list.csv"] = b"slide,label\n" + b"".join(
        f"in/{each.path.name},{number}\n".encode() for number, each in enumerate(rendered)
    )
    return store


@pytest.mark.parametrize("source", ["s3://archive/in", "s3://archive/in/*", "s3://archive/list.csv"])
def test_slides_of_a_store_are_tiled_as_files_are(archive, rendered, tmp_path, source):
    tile_slides([each.path for each in rendered], tmp_path / "local", SETTINGS, workers=0)
    result = tile_slides(source, tmp_path / "stored", SETTINGS, workers=0)
    assert images(tmp_path / "stored") == images(tmp_path / "local")
    assert [each.slide for each in result.slides] == [f"s3://archive/in/{each.path.name}" for each in rendered]
    assert open_tiles(tmp_path / "stored").slides == tuple(each.slide for each in result.slides)
    for file in tmp_path.joinpath("stored").rglob("*"):
        if file.is_file() and file.suffix in (".json", ".html", ".jsonl"):
            text = file.read_text()
            assert "nobody-sees" not in text
            assert str(tmp_path / "kept") not in text, file
    count = len(archive.asked)
    again = tile_slides(source, tmp_path / "stored", SETTINGS, workers=0, resume=True)
    assert again.tiles == result.tiles
    assert {each.method for each in archive.asked[count:]} <= {"HEAD", "GET"}
    assert sum(each.length for each in archive.asked[count:] if each.method == "GET") < 10_000  # the list alone


def test_a_slide_that_changes_is_tiled_anew_by_resume(archive, rendered, tmp_path):
    tile_slides("s3://archive/in", tmp_path / "out", SETTINGS, workers=0)
    name = rendered[0].path.name
    archive.objects[f"archive/in/{name}"] += b"more"
    result = tile_slides("s3://archive/in", tmp_path / "out", SETTINGS, workers=0, resume=True)
    assert [place_name(each) for each in result.changed] == [f"s3://archive/in/{name}"]
    assert result.tiles == 32


def test_a_store_that_stays_away_is_not_damage(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("CELLMIX_DALI_STORE_SECONDS", "0")
    archive.fault = lambda _, asked: "503" if asked.range and asked.range[0] > 70_000 else None
    result = tile_slides("s3://archive/in", tmp_path / "out", SETTINGS, workers=0, retry_seconds=0)
    assert not result.failed
    assert not result.bad_tiles
    assert result.not_read or result.unread_tiles
    archive.fault = lambda _, __: None
    whole = tile_slides("s3://archive/in", tmp_path / "out", SETTINGS, workers=0, resume=True)
    assert [len(whole.not_read), whole.unread_tiles, whole.bad_tiles] == [0, 0, 0]
    assert whole.tiles == 32


def test_shards_in_a_store_are_read_by_ranges(archive, rendered, tmp_path, monkeypatch):
    tile_slides([each.path for each in rendered], tmp_path / "local", SETTINGS, workers=0)
    for file in (tmp_path / "local").rglob("*"):
        if file.is_file():
            archive.objects[f"archive/tiles/{file.relative_to(tmp_path / 'local')}"] = file.read_bytes()
    local, stored = open_tiles(tmp_path / "local"), open_tiles("s3://archive/tiles")
    np.testing.assert_array_equal(read_table(stored, 256), read_table(local, 256))
    assert not any(each.length == len(archive.objects[each.path]) for each in archive.asked if ".tar" in each.path)

    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / "another"))
    reader = ShardReader(open_tiles("s3://archive/tiles"))
    archive.fault = lambda _, __: "503"
    found = reader.read(np.arange(4))
    assert all(isinstance(each, NotReadError) for each in found)


def test_what_is_not_written_to_stores_says_so(run, tmp_path, rendered):
    code, _, said = run("stain", str(rendered[0].path), "--out", "s3://archive/out")
    assert code == 2
    assert "results go to folders of this machine" in " ".join(said.split())
    assert not (tmp_path / "s3:").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["processes of this one", "the command's"])
@pytest.mark.usefixtures("archive")
def test_workers_read_from_a_store(rendered, tmp_path, kind):
    """They know credentials that were set late; a process that has used a store is not forked: it would hang."""
    tile_slides([each.path for each in rendered], tmp_path / "local", SETTINGS, workers=0)
    if kind == "the command's":
        code = "from cellmix_dali.cli import main; main()"
        options = ["--tile-size", "256", "--tissue", "0", "--workers", "2", "--level", "0"]
        command = [sys.executable, "-c", code, "tile", "s3://archive/in", "--out", str(tmp_path / "stored"), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        tile_slides("s3://archive/in", tmp_path / "stored", SETTINGS, workers=2)
    assert images(tmp_path / "stored") == images(tmp_path / "local")


@pytest.mark.usefixtures("store")
def test_no_file_of_results_is_written_among_what_is_kept_of_objects(tmp_path):
    with (
        pytest.raises(ArgumentError, match=r"cannot be written to s3://archive/a\.json"),
        write_aside(path_of("A file", "s3://archive/a.json")),
    ):
        pass
    assert not (tmp_path / "kept").exists()


def test_inspect_takes_a_url(run, archive):
    name = next(iter(archive.objects))
    code, out, _ = run("inspect", f"s3://{name}", "--json")
    assert code == 0
    assert json.loads(out)["path"] == f"s3://{name}"
