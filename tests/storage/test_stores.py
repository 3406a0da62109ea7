"""What a store does wrong, and what is kept of its objects."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cellmix_dali._arguments import path_of
from cellmix_dali.errors import ArgumentError, NotReadError
from cellmix_dali.storage import mirror as mirrors
from cellmix_dali.storage.mirror import attach, fetch, held
from cellmix_dali.storage.moment import first_missing
from cellmix_dali.storage.object_files import file_of_pages, tidy
from cellmix_dali.storage.objects import here, here_folder

DATA = np.random.default_rng(1).integers(0, 256, 3_000_001, np.uint8).tobytes()
URL = "s3://b/data.bin"


@pytest.fixture
def data(store):
    store.objects["b/data.bin"] = DATA
    return path_of("An object", URL)


def ranges(*spans):
    places = np.array(spans, np.int64)
    return places[:, 0], places[:, 1]


def read(path, *spans):
    of = attach(path)
    with fetch([(of, *ranges(*spans))]):
        whole = path.read_bytes()
    return [whole[start:end] for start, end in spans]


def test_only_what_is_asked_for_is_fetched_near_ranges_together(store, data):
    of = attach(data)
    assert data.stat().st_size == len(DATA)
    store.asked.clear()
    spans = (1_000_000, 1_000_100), (1_020_000, 1_030_000), (2_900_000, len(DATA)), (2_000_000, 2_000_001)
    assert read(data, *spans) == [DATA[start:end] for start, end in spans]
    assert len(store.asked) == 3
    assert store.sent < 200_000
    assert not of.is_whole
    store.asked.clear()
    assert read(data, *spans) == [DATA[start:end] for start, end in spans]
    assert store.asked == []


def test_whole_objects_come_in_parts_and_are_kept(store, data):
    with here(data):
        assert data.read_bytes() == DATA
    assert max(each.length for each in store.asked) <= 1 << 20
    count = len(store.asked)
    with here(data, fresh=True):
        assert data.read_bytes() == DATA
    assert [each.method for each in store.asked[count:]] == ["HEAD"]


def test_threads_do_not_ask_for_the_same_twice(store, data):
    attach(data)
    store.asked.clear()
    store.latency = 0.1
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: read(data, (1_500_000, 1_600_000))[0], range(8)))
    assert found == [DATA[1_500_000:1_600_000]] * 8
    assert len(store.asked) == 1


@pytest.mark.parametrize("fault", ["503", "429", "500", "cut", "truncate"])
def test_what_passes_is_tried_again(store, data, fault):
    attach(data)
    failed = []

    def once(_, asked):
        if len(failed) < 2:
            failed.append(asked)
            return fault
        return None

    store.fault = once
    assert read(data, (500_000, 700_000)) == [DATA[500_000:700_000]]
    assert len(failed) == 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("503", "503 Service Unavailable"),
        ("429", "429 Too Many Requests"),
        ("cut", "no answer in time"),
        ("truncate", "the connection broke"),
        ("short", "sent 100352 bytes of 200704|the connection broke"),
        ("401", "AWS_ACCESS_KEY_ID"),
        ("403", r"403 Forbidden.*AWS_SKIP_SIGNATURE"),
        ("404", "no longer there"),
    ],
)
def test_what_stays_is_not_read_and_says_why(store, data, fault, said):
    of = attach(data)
    store.fault = lambda _, __: fault
    with held([(of, *ranges((500_000, 700_000)))]) as failed:
        error = failed[of]
    assert isinstance(error, NotReadError)
    assert URL in str(error)
    assert "nobody-sees" not in str(error)
    with pytest.raises(NotReadError, match=said):
        raise error
    store.fault = lambda _, __: None  # nothing of it was kept
    assert read(data, (500_000, 700_000)) == [DATA[500_000:700_000]]


def test_an_object_that_changes_is_an_error_and_then_another_version(store, data):
    read(data, (0, 1000))
    of = attach(data)
    store.objects["b/data.bin"] = DATA[::-1]
    with held([(of, *ranges((2_000_000, 2_000_100)))]) as failed:
        assert "has changed since it was opened" in str(failed[of])
    new = attach(data, fresh=True)
    assert new.of.version != of.of.version
    assert read(data, (2_000_000, 2_000_100), (0, 1000)) == [DATA[::-1][2_000_000:2_000_100], DATA[::-1][:1000]]
    with held([(of, *ranges((0, 1000)))]) as failed:  # the old one is not taken for the new one
        assert "has changed since it was opened" in str(failed[of])


def test_without_etags_the_size_tells(store, data):
    store.etags = False
    of = attach(data)
    assert read(data, (100_000, 100_010)) == [DATA[100_000:100_010]]
    store.objects["b/data.bin"] = DATA + b"more"
    with held([(of, *ranges((2_000_000, 2_000_100)))]) as failed:
        assert "has changed" in str(failed[of])


def test_one_bad_object_does_not_keep_others(store, data):
    store.objects["b/other.bin"] = DATA[:500_000]
    other = attach(path_of("An object", "s3://b/other.bin"))
    of = attach(data)
    store.fault = lambda _, asked: "503" if "data" in asked.path else None
    with held([(of, *ranges((500_000, 500_010))), (other, *ranges((400_000, 400_010)))]) as failed:
        assert set(failed) == {of}
        assert other.path.read_bytes()[400_000:400_010] == DATA[400_000:400_010]


def test_what_was_used_longest_ago_is_let_go_of(store):
    paths = []
    for number in range(3):
        store.objects[f"b/{number}.bin"] = DATA
        paths.append(path_of("An object", f"s3://b/{number}.bin"))
        with here(paths[-1]):
            pass
        os.utime(file_of_pages(paths[-1]), (number + 1, number + 1))
    with attach(paths[1]).holding():  # somebody reads from it
        os.utime(file_of_pages(paths[1]), (2, 2))
        tidy(len(DATA) + 100_000)
    used = [path.stat().st_blocks * 512 > 0 for path in paths]
    assert used == [False, True, False]
    with here(paths[0]):  # and can be had again
        assert paths[0].read_bytes() == DATA


def test_the_bound_holds_while_objects_are_read(store, data, monkeypatch):
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE_SIZE", "4MB")
    for number in range(6):
        store.objects[f"b/{number}.bin"] = DATA
        with here(path_of("An object", f"s3://b/{number}.bin")):
            pass
    kept = sum(file.stat().st_blocks * 512 for file in data.parent.iterdir())
    assert kept <= 4_000_000 + len(DATA)


def test_processes_share_what_is_kept(store, data):
    code = (
        "import sys, threading; from cellmix_dali.storage.objects import here;"
        "from cellmix_dali._arguments import path_of; path = path_of('x', sys.argv[1])\n"
        "with here(path): print(sum(path.read_bytes()))"
    )
    run = [sys.executable, "-c", code, URL]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: subprocess.run(run, capture_output=True, text=True, check=True), range(2)))
    assert [int(each.stdout) for each in found] == [sum(DATA)] * 2
    store.asked.clear()
    with here(data):
        assert data.read_bytes() == DATA
    assert [each.method for each in store.asked] == ["HEAD"]


def test_a_folder_is_what_the_store_lists(store):
    store.objects |= {"b/f/a.txt": b"a", "b/f/deep/c.txt": b"c", "b/f/b.txt": b""}
    folder = path_of("A folder", "s3://b/f")
    assert sorted(each.path.name for each in here_folder(folder)) == ["a.txt", "b.txt"]
    del store.objects["b/f/b.txt"]
    here_folder(folder)
    assert [each.name for each in folder.iterdir()] == ["a.txt"]


@pytest.mark.usefixtures("store")
def test_a_fork_of_a_process_that_has_read_says_so(data):
    """It would wait for ever for threads that are missing in it."""
    assert read(data, (0, 100)) == [DATA[:100]]
    told, tells = multiprocessing.Pipe(duplex=False)

    def read_in_the_fork():
        try:
            tells.send(read(data, (2_000_000, 2_000_100)))
        except ArgumentError as error:
            tells.send(str(error))

    process = multiprocessing.get_context("fork").Process(target=read_in_the_fork)
    process.start()
    try:
        assert told.poll(30), "it hangs"
        said = told.recv()
    finally:
        process.kill()
        process.join()
    assert "it is a fork of process" in said
    assert "by spawn or forkserver" in said


def test_nothing_is_left_running(data):
    read(data, (0, 10))
    names = {thread.name.rpartition("_")[0] for thread in threading.enumerate()}
    assert "cellmix-dali-look" not in names


def test_many_objects_are_asked_for_at_once_and_the_missing_one_is_named(store, monkeypatch):
    names = [f"{number}.bin" for number in range(40)]
    store.objects |= {f"b/{name}": DATA[:9] for name in names if name != "30.bin"}
    together, asked, look = threading.Barrier(8), [], mirrors.look

    def with_others(url, *, head):
        asked.append(url)
        if len(asked) <= len(names):
            together.wait(20)  # until eight ask at the same time
        return look(url, head=head)

    monkeypatch.setattr(mirrors, "look", with_others)
    urls = [f"s3://b/{name}" for name in names]
    assert first_missing(urls) == "s3://b/30.bin"
    assert {each.method for each in store.asked[:40]} == {"HEAD"}
    assert first_missing(urls[:30]) is None
