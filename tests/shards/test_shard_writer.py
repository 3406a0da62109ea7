"""Shards are the tar files that DALI and the webdataset package read, the same bytes each time, whole or not there."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import wds2idx
import webdataset
from nvidia.dali import fn, pipeline_def, types
from PIL import Image

from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.shards import Encoding, ShardWriter, shard_digest
from cellmix_dali.storage.aside import Aside, WriteError, remove_parts, write_aside


def tiles(count: int, side: int = 48) -> list[bytes]:
    """PNG files, each of one grey."""
    return [Encoding("png").encode(np.full((side, side, 3), 3 * number, np.uint8)) for number in range(count)]


def write(folder: Path, count: int = 25, prefix: str = "case_1-a", *, labelled: bool = True, **limits: int):
    folder.mkdir(exist_ok=True, parents=True)
    with ShardWriter(folder, prefix, **limits) as writer:
        for number, data in enumerate(tiles(count)):
            about = {"slide": "a/b ö.svs", "x": number, "mpp": 0.5, "tissue": None}
            writer.add(data, "png", about=about, label=number % 3 if labelled else None)
    return writer.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_digest_sees_every_byte(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "a", max_tiles=4) as writer:
        for data in tiles(6):
            writer.add(data, "png", about={"x": 1})
    assert list(writer.digests) == ["a-00000.tar", "a-00001.tar"]
    for name, digest in writer.digests.items():
        path = tmp_path / name
        assert shard_digest(path) == digest
        whole = path.read_bytes()
        for place in range(0, len(whole), 97):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            assert shard_digest(path) != digest, place
        path.write_bytes(whole[:700])
        with pytest.raises(ValueError, match="beyond the shard"):
            shard_digest(path)


def test_members_offsets_and_digests(tmp_path: Path) -> None:
    written = write(tmp_path, max_tiles=10)
    assert names(tmp_path) == [f"case_1-a-0000{n}.{end}" for n in range(3) for end in ("idx", "tar")]
    assert written["shard"].to_pylist() == [f"case_1-a-0000{number // 10}.tar" for number in range(25)]
    keys = []
    for number, (data, row) in enumerate(zip(tiles(25), written.to_pylist(), strict=True)):
        raw = (tmp_path / row["shard"]).read_bytes()
        assert raw[row["offset"] : row["offset"] + row["bytes"]] == data
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        with tarfile.open(tmp_path / row["shard"]) as tar:
            members = tar.getmembers()[3 * (number % 10) : 3 * (number % 10) + 3]
            assert [member.name.partition(".")[2] for member in members] == ["png", "cls", "json"]
            assert len({member.name.partition(".")[0] for member in members}) == 1
            keys.append(members[0].name.partition(".")[0])
            contents = [tar.extractfile(member).read() for member in members]
        assert contents[:2] == [data, b"%d" % (number % 3)]
        assert json.loads(contents[2]) == {"slide": "a/b ö.svs", "x": number, "mpp": 0.5, "tissue": None}
    assert keys == sorted(set(keys))


def test_headers_and_length_are_those_of_tarfile(tmp_path: Path) -> None:
    write(tmp_path, 4)
    shard = tmp_path / "case_1-a-00000.tar"
    again = io.BytesIO()
    with tarfile.open(shard) as tar, tarfile.open(fileobj=again, mode="w", format=tarfile.USTAR_FORMAT) as other:
        for member in tar:
            plain = tarfile.TarInfo(member.name)
            plain.size = member.size
            other.addfile(plain, tar.extractfile(member))
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
    assert shard.read_bytes() == again.getvalue()


@pytest.mark.parametrize("labelled", [True, False])
def test_the_index_is_that_of_dalis_tool(tmp_path: Path, labelled: bool) -> None:
    write(tmp_path, labelled=labelled)
    wds2idx.IndexCreator(str(tmp_path / "case_1-a-00000.tar"), str(tmp_path / "own.idx"), verbose=False).create_index()
    assert (tmp_path / "own.idx").read_text() == (tmp_path / "case_1-a-00000.idx").read_text()


@pipeline_def(num_threads=2, device_id=None, batch_size=25)
def _reading(folder: Path):
    shards = sorted(map(str, folder.glob("*.tar")))
    image, label = fn.readers.webdataset(
        paths=shards, index_paths=[shard[:-3] + "idx" for shard in shards], ext=["png;jpg", "cls"], name="reader"
    )
    return fn.decoders.image(image, device="cpu", output_type=types.RGB), label


def test_dali_reads_them(tmp_path: Path) -> None:
    write(tmp_path, max_tiles=10)
    pipe = _reading(tmp_path)
    pipe.build()
    images, labels = pipe.run()
    assert pipe.epoch_size("reader") == 25
    for number in range(25):
        assert (np.array(images[number]) == 3 * number).all()
        assert np.array(labels[number]).tobytes() == b"%d" % (number % 3)


def test_the_webdataset_package_reads_them(tmp_path: Path) -> None:
    write(tmp_path, max_tiles=10)
    shards = sorted(map(str, tmp_path.glob("*.tar")))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("__key__", "png", "cls"))
    assert [label for _, _, label in samples] == [number % 3 for number in range(25)]
    assert all((image == 3 * number).all() for number, (_, image, _) in enumerate(samples))
    assert [key for key, _, _ in samples] == [f"case_1-a-{number:08d}" for number in range(25)]


def test_the_same_tiles_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", max_tiles=7), write(tmp_path / "other", max_tiles=7)
    assert one.equals(other)
    assert names(tmp_path / "one") == names(tmp_path / "other")
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_shards_are_limited_by_bytes(tmp_path: Path) -> None:
    written = write(tmp_path, max_bytes=20480)
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("*.tar"))]
    assert max(sizes) == 20480
    assert len(sizes) == len(set(written["shard"].to_pylist())) > 2
    small = write(tmp_path / "small", 3, max_bytes=1)  # a shard has one tile at least
    assert len(set(small["shard"].to_pylist())) == 3


def test_no_tiles_no_shard(tmp_path: Path) -> None:
    assert write(tmp_path, 0).num_rows == 0
    assert names(tmp_path) == []


def test_an_exception_leaves_only_finished_shards(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "a", max_tiles=2)

    def stop() -> None:
        with writer:
            for data in tiles(3):
                writer.add(data, "png")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop()
    assert names(tmp_path) == ["a-00000.idx", "a-00000.tar"]
    with pytest.raises(ArgumentError, match="was stopped by an error"):
        writer.close()
    with pytest.raises(ArgumentError, match="is closed"):
        writer.add(b"", "png")


def test_what_is_under_way_has_another_name(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "a")
    writer.add(tiles(1)[0], "png")
    (part,) = names(tmp_path)
    assert part.startswith("a-00000.tar.")
    assert part.endswith(".part")
    (tmp_path / "mine.part").touch()
    (tmp_path / "ab-00000.tar.0123456789ab.part").touch()
    assert remove_parts(tmp_path, "a") == 1  # as after a crash
    assert remove_parts(tmp_path) == 1
    assert names(tmp_path) == ["mine.part"]


_FILLING = """
import resource, sys
from pathlib import Path
from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.shards import ShardWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
try:
    with ShardWriter(Path(sys.argv[1]), "a", max_tiles=int(sys.argv[2])) as writer:
        for number in range(400):
            writer.add(number.to_bytes(2, "big") * 5000, "jpg")
except CellMixDaliError as error:
    print(type(error).__name__, error)
    sys.exit(2)
"""


@pytest.mark.parametrize(("max_tiles", "fails"), [(1000, True), (100, False)])
def test_a_full_disk(tmp_path: Path, max_tiles: int, fails: bool) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _FILLING, str(tmp_path), str(max_tiles)], capture_output=True, text=True, check=False
    )
    assert run.stderr == ""
    if fails:
        assert run.returncode == 2
        assert run.stdout.startswith(f"WriteError {tmp_path / 'a-00000.tar'} cannot be written: File too large.")
        assert not list(tmp_path.glob("*.tar"))
        assert not list(tmp_path.glob("*.idx"))
    else:  # in small shards the same tiles fit
        assert run.returncode == 0
        assert len(list(tmp_path.glob("*.tar"))) == 4


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "missing", "a")
    with pytest.raises(WriteError, match=r"missing.a-00000.tar cannot be written: No such file"):
        writer.add(b"", "png")


def test_any_file_is_written_aside(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def fail() -> None:
        with write_aside(path) as file:
            file.write(b"half")
            raise SlideError("of the body")

    with pytest.raises(SlideError, match=r"^of the body$"):
        fail()
    assert path.read_text() == "old"
    with write_aside(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["report.json"]


@pytest.mark.parametrize(
    ("parts", "early"), [([(1 << 24) - 1], 0), ([1 << 24], 1), ([(1 << 24) - 1, 1], 1), ([1 << 24, (1 << 24) - 1], 1)]
)
def test_large_files_are_sent_to_the_disk_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: list[int], early: int
) -> None:
    """From 16 MiB on; and what the disk says against it is told."""
    sent: list[int] = []
    monkeypatch.setattr(os, "fdatasync", sent.append)
    file = Aside(tmp_path / "a.tar")
    for part in parts:
        file.file.write(b"x")
        file.wrote(part)
    file.finish()
    assert len(sent) == early
    file.rename()
    assert (tmp_path / "a.tar").read_bytes() == b"x" * len(parts)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    file = Aside(tmp_path / "b.tar")
    file.wrote(1 << 24)
    with pytest.raises(WriteError, match="The disk is full"):
        file.finish()
    file.discard()
    assert names(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("prefix", ["", "a.b", "a/b", "ä", "a" * 81])
def test_prefixes_that_are_no_key_are_refused(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(ArgumentError, match="cannot begin the names of shards"):
        ShardWriter(tmp_path, prefix)


def test_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="max_tiles=0"):
        ShardWriter(tmp_path, "a", max_tiles=0)
    writer = ShardWriter(tmp_path, "a" * 80)
    with pytest.raises(ArgumentError, match="one of jpg, png"):
        writer.add(b"", ".jpg")
    writer.add(tiles(1)[0], "png", label=1)
    writer.close()
    with tarfile.open(next(tmp_path.glob("*.tar"))) as tar:
        assert tar.getnames()[2] == "a" * 80 + "-00000000.json"
    assert Image.open(io.BytesIO(tiles(1)[0])).size == (48, 48)
