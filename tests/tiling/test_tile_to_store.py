"""Tiling into a store: the same bytes as in a folder, and going on from there on any machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cellmix_dali.errors import ArgumentError
from cellmix_dali.jobs.job_shard import JobShard
from cellmix_dali.shards import open_tiles
from cellmix_dali.storage import sending
from cellmix_dali.storage.aside import WriteError
from cellmix_dali.tiling import TilingSettings, job, tile_slides

SETTINGS = TilingSettings(256, tissue=0.0, shard_size=8)
OUT = "s3://archive/out"


@pytest.fixture
def slides(rendered):
    return [each.path for each in rendered]


@pytest.fixture
def local(slides, tmp_path):
    """Bytes of a job's files in a folder, but those that have times in them."""
    tile_slides(slides, tmp_path / "local", SETTINGS, workers=0)
    files = {path.relative_to(tmp_path / "local").as_posix(): path for path in (tmp_path / "local").rglob("*")}
    return {name: path.read_bytes() for name, path in files.items() if path.is_file()}


def sent(store):
    return {
        name.removeprefix("archive/out/"): of for name, of in store.objects.items() if name.startswith("archive/out")
    }


def check_same(store, local):
    found = sent(store)
    found.pop("sent.json")
    assert set(found) == set(local)
    for name in ("report.json", "report.html"):  # with the time that it took
        found.pop(name), local.pop(name)
    assert found == local


def another_machine(monkeypatch, tmp_path, name="another"):
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / name))


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def interrupted(store, slides):
    """End a job after half of its tiles, when a shard has been sent."""

    def end(state):
        if state.tiles_done >= 16:
            until = time.monotonic() + 10
            while not any(name.endswith(".tar") for name in sent(store)) and time.monotonic() < until:
                time.sleep(0.01)
            raise Killed

    with pytest.raises(Killed):
        tile_slides(slides, OUT, SETTINGS, workers=0, progress=end)


def test_results_in_a_store_are_those_of_a_folder(store, slides, local, tmp_path):
    result = tile_slides(slides, OUT, SETTINGS, workers=0)
    check_same(store, local)
    assert open_tiles(OUT).slides == open_tiles(tmp_path / "local").slides
    assert len(open_tiles(result.folder)) == result.tiles == 32
    for place in ("results", "sent"):  # nothing is left here
        assert not [path for path in (tmp_path / "kept" / place).rglob("*") if path.is_file()]
    assert not [name for name, of in sent(store).items() if b"nobody-sees" in of or b"kept" in of]


def test_the_command_writes_to_a_store(store, run, slides):
    code, out, said = run("tile", str(slides[0]), "--out", OUT, "--tile-size", "256", "--tissue", "0", "--level", "0")
    assert code == 0, out + said
    assert "written to s3://archive/out" in " ".join(out.split())
    assert "report.html" in sent(store)


@pytest.mark.parametrize("url", ["http://host/out", "sftp://host/out"])
def test_what_takes_no_results_says_so(run, slides, url):
    code, _, said = run("tile", str(slides[0]), "--out", url)
    assert code == 2
    assert "results go to folders of this machine and to object stores" in " ".join(said.split())


@pytest.mark.parametrize("where", ["this machine", "another machine"])
@pytest.mark.parametrize("verify", [False, True])
def test_a_job_goes_on_from_the_store(store, slides, local, tmp_path, monkeypatch, where, verify):
    monkeypatch.setattr(sending, "_PAUSE", 0.02)
    monkeypatch.setattr(sending, "_AGAIN", 0.0)
    interrupted(store, slides)
    assert "manifest.json" in sent(store)
    if where == "another machine":
        another_machine(monkeypatch, tmp_path)
    shards = {name for name in sent(store) if name.endswith(".tar")}
    assert shards
    count = len(store.asked)
    result = tile_slides(slides, OUT, SETTINGS, workers=0, resume=True, verify=verify)
    assert result.tiles == 32
    check_same(store, local)
    later = store.asked[count:]
    assert not shards & {of.path.removeprefix("archive/out/") for of in later if of.method == "PUT"}  # not made again
    if not verify:
        assert not [of for of in later if of.method == "GET" and of.path.endswith(".tar")]


@pytest.mark.parametrize("small_files", ["in time", "late"])
def test_a_job_that_an_error_ends_sends_its_records_before_it_goes(
    store, slides, local, tmp_path, monkeypatch, small_files
):
    """And the table of each part whose shard was sent."""
    monkeypatch.setattr(sending, "_PAUSE", 0.02)  # records and notes are sent again after 30 s only
    ready = sending.SentResults._ready
    if small_files == "late":

        def without_tables(self, *, last=False):
            return [of for of in ready(self, last=last) if last or not of[0].endswith(".parquet")]

        monkeypatch.setattr(sending.SentResults, "_ready", without_tables)
    interrupted(store, slides)
    another_machine(monkeypatch, tmp_path)
    shards = {name for name in sent(store) if name.endswith(".tar")}
    count = len(store.asked)
    tile_slides(slides, OUT, SETTINGS, workers=0, resume=True)
    check_same(store, local)
    assert shards
    assert not shards & {of.path.removeprefix("archive/out/") for of in store.asked[count:] if of.method == "PUT"}


def test_a_job_that_is_refused_late_sends_nothing(store, slides, tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "_PAUSE", 0.0)
    tile_slides(slides, OUT, SETTINGS, workers=0)
    another_machine(monkeypatch, tmp_path)
    before, count = sent(store), len(store.asked)

    def refused(*_, **__):
        time.sleep(0.3)
        raise Killed

    monkeypatch.setattr(job, "Manifest", refused)
    with pytest.raises(Killed):
        tile_slides(slides, OUT, SETTINGS, workers=0)
    assert not [of for of in store.asked[count:] if of.method in {"PUT", "DELETE"}]
    assert sent(store) == before


def test_a_finished_job_is_left_as_it_is_and_refused_without_resume(store, slides, local):
    tile_slides(slides, OUT, SETTINGS, workers=0)
    with pytest.raises(ArgumentError, match=r"s3://archive/out holds a tiling job already: go on with it by --resume"):
        tile_slides(slides, OUT, SETTINGS, workers=0)
    with pytest.raises(ArgumentError, match="s3://archive/out was begun with other settings"):
        tile_slides(slides, OUT, TilingSettings(128, tissue=0.0), workers=0, resume=True)
    count = len(store.asked)
    tile_slides(slides, OUT, SETTINGS, workers=0, resume=True)
    again = {of.path for of in store.asked[count:] if of.method == "PUT" and of.path.endswith((".tar", ".parquet"))}
    assert again <= {"archive/out/tiles.parquet"}
    check_same(store, local)


@pytest.mark.slow
@pytest.mark.parametrize(("sent_before", "where"), [(0, "this machine"), (1, "another"), (4, "another")])
def test_a_process_that_is_killed_while_it_sends_is_gone_on_with(
    store, slides, local, tmp_path, monkeypatch, sent_before, where
):
    code = (
        "import sys; from cellmix_dali.tiling import TilingSettings, tile_slides\n"
        "settings = TilingSettings(256, tissue=0.0, shard_size=8)\n"
        "tile_slides(sys.argv[2:], sys.argv[1], settings, workers=0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, OUT, *map(str, slides)], stderr=subprocess.PIPE)

    def kill(_, asked):
        if asked.method == "PUT" and sum(each.method == "PUT" for each in store.asked) > sent_before:
            os.kill(process.pid, signal.SIGKILL)
            return "503"
        return None

    store.fault = kill
    assert process.communicate(timeout=120)[1] == b""
    assert process.returncode == -signal.SIGKILL
    store.fault = lambda _, __: None
    assert len(sent(store)) <= sent_before
    if where == "another":
        another_machine(monkeypatch, tmp_path)
    if sent(store).keys() - {"sent.json"}:
        with pytest.raises(ArgumentError, match=r"--resume"):
            tile_slides(slides, OUT, TilingSettings(128, tissue=0.0), workers=0)
    tile_slides(slides, OUT, SETTINGS, workers=0, resume=True)
    check_same(store, local)


@pytest.mark.usefixtures("local")
def test_what_is_lost_or_other_in_the_store_is_made_again(store, slides, local, tmp_path, monkeypatch):
    tile_slides(slides, OUT, SETTINGS, workers=0)
    first, second = sorted(name for name in store.objects if name.endswith(".tar"))[:2]
    del store.objects[first]
    store.objects[second] = bytes(len(store.objects[second]))
    another_machine(monkeypatch, tmp_path)
    tile_slides(slides, OUT, SETTINGS, workers=0, resume=True)
    check_same(store, local)


def test_parts_on_machines_without_a_common_file_system(store, slides, local, tmp_path, monkeypatch):
    for number in (1, 2):
        another_machine(monkeypatch, tmp_path, f"host {number}")
        tile_slides(slides, OUT, SETTINGS, workers=0, shard=JobShard(number, 2))
    another_machine(monkeypatch, tmp_path, "host 3")
    shards = {name: of for name, of in sent(store).items() if name.endswith(".tar")}
    assert shards
    count = len(store.asked)
    tile_slides(slides, OUT, SETTINGS, workers=0, resume=True)
    assert not [of for of in store.asked[count:] if of.method == "PUT" and of.path.endswith(".tar")]
    for part in ("sent-1-of-2.json", "sent-2-of-2.json"):
        store.objects.pop(f"archive/out/{part}", None)
    check_same(store, local)


def test_a_store_that_stays_away_ends_the_job_which_goes_on(store, slides, local, monkeypatch):
    monkeypatch.setenv("CELLMIX_DALI_STORE_SECONDS", "0")
    store.fault = lambda _, asked: "503" if asked.method == "PUT" else None
    with pytest.raises(WriteError, match=r"cannot be sent to s3://archive/out: .*503 .* go on with --resume") as caught:
        tile_slides(slides, OUT, SETTINGS, workers=0)
    assert "nobody-sees" not in str(caught.value)
    assert sent(store) == {}
    store.fault = lambda _, __: None
    tile_slides(slides, OUT, SETTINGS, workers=0, resume=True)
    check_same(store, local)


def test_large_files_need_no_room_here_once_they_are_sent(store, slides, tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "_PAUSE", 0.02)
    interrupted(store, slides)
    folder = tmp_path / "kept" / "results" / "whole" / "s3" / "archive" / "out"
    note = json.loads((tmp_path / "kept/sent/whole/s3/archive/out/sent.json").read_bytes())["files"]
    assert set(note) <= set(sent(store))
    shards = [name for name in note if name.endswith(".tar")]
    assert shards
    for name in shards:
        assert (folder / name).stat().st_size == len(sent(store)[name])
        assert (folder / name).stat().st_blocks == 0


def test_a_place_with_other_things_is_refused(store, slides):
    store.objects["archive/out/thesis.docx"] = b"x"
    with pytest.raises(ArgumentError, match=r"s3://archive/out is not empty \(it has thesis.docx\) and holds"):
        tile_slides(slides, OUT, SETTINGS, workers=0)
    assert sent(store) == {"thesis.docx": b"x"}


def test_what_was_removed_from_the_store_is_begun_anew(store, slides, local, monkeypatch):
    monkeypatch.setattr(sending, "_PAUSE", 0.02)
    interrupted(store, slides)
    store.objects.clear()
    tile_slides(slides, OUT, SETTINGS, workers=0)
    check_same(store, local)


@pytest.mark.usefixtures("store")
def test_a_scheduler_and_a_store_do_not_go_together(slides):
    with pytest.raises(ArgumentError, match="cannot be written to by the workers of a scheduler"):
        tile_slides(slides, OUT, SETTINGS, scheduler="tcp://127.0.0.1:1")
