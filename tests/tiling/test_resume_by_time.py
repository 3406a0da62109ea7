"""A job that goes on reads no finished byte again, unless it is asked to or a file is not as old as it was noted."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiling_jobs import TINY, Tree, assert_same, serial, tree

from cellmix_dali.jobs.asked import with_sum
from cellmix_dali.jobs.journal import journal_lines
from cellmix_dali.tiling import records
from cellmix_dali.tiling.records import FileStamp, file_stamps, intact
from cellmix_dali.tiling.slides import _names


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose digests are worked out."""
    found: list[str] = []
    digest = records._digest

    def counted(path: Path) -> str:
        found.append(path.name)
        return digest(path)

    monkeypatch.setattr(records, "_digest", counted)
    return found


def test_a_finished_job_is_gone_on_with_without_reading_it(
    tiny: list[Path], uninterrupted: Tree, tmp_path: Path, reads: list[str]
) -> None:
    out = tmp_path / "out"
    serial(tiny, out, TINY)
    files = [path for name in ("shards", "parts", "plans", "overviews") for path in (out / name).iterdir()]
    for path in files:  # as in a job that took longer than one tick of the file system's clock
        os.utime(path, ns=(1, path.stat().st_mtime_ns - 10**9))
    reads.clear()
    serial(tiny, out, TINY, resume=True)
    assert reads == []
    serial(tiny, out, TINY, resume=True, verify=True)
    assert sorted(reads) == sorted(path.name for path in files)

    shutil.copytree(out, tmp_path / "copy", copy_function=shutil.copy)
    os.utime(tmp_path / "copy" / "manifest.json", ns=(1, 1))  # as if it had been the first to be copied
    reads.clear()
    serial(tiny, tmp_path / "copy", TINY, resume=True)
    assert sorted(reads) == sorted(path.name for path in files)
    assert_same(tree(tmp_path / "copy"), uninterrupted)


def test_what_keeps_size_and_time_is_found_by_verifying_alone(
    tiny: list[Path], uninterrupted: Tree, tmp_path: Path
) -> None:
    """Bits that rot."""
    out = tmp_path / "out"
    serial(tiny, out, TINY)
    shard = sorted((out / "shards").glob("*.tar"))[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    os.utime(shard, ns=(1, 10**9))
    serial(tiny, out, TINY, resume=True)
    assert shard.read_bytes() != whole
    serial(tiny, out, TINY, resume=True, verify=True)
    assert_same(tree(out), uninterrupted)


@pytest.mark.parametrize("version", [2, 3])
def test_a_job_of_a_former_version_is_gone_on_with(
    version: int, tiny: list[Path], uninterrupted: Tree, tmp_path: Path, reads: list[str]
) -> None:
    """The slides stood in the manifest; a journal of version 2 has no times of files, so that they are read."""
    out = tmp_path / "out"
    serial(tiny, out, TINY)
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["sum"]
    entries = list(journal_lines(out / "slides.jsonl"))
    (out / "slides.jsonl").unlink()
    if version == 3:
        manifest |= {"format": 3, "slides": entries}
        (out / "manifest.json").write_text(json.dumps(with_sum(manifest)))
        serial(tiny, out, TINY, resume=True)
        assert_same(tree(out), uninterrupted)
        return
    done = [entry for entry in entries if entry["status"] == "done"]
    lines: list[dict[str, Any]] = []
    for entry in done:
        lines.append({"kind": "plan", **entry["plan"]})
        lines += [{"kind": "part", **part} for part in entry["parts"]]
    asked = [{key: of for key, of in entry.items() if key not in ("status", "plan", "parts")} for entry in done]
    manifest |= {"format": 2, "finished": False, "slides": asked}
    (out / "manifest.json").write_text(json.dumps(with_sum(manifest)))
    (out / "journal.jsonl").write_text("".join(json.dumps(with_sum(line)) + "\n" for line in lines))
    reads.clear()
    serial(tiny, out, TINY, resume=True)
    assert len(reads) == sum(len(line["files"]) for line in lines) > 10
    assert_same(tree(out), uninterrupted)


def test_files_count_as_whole_by_size_and_time(tmp_path: Path, reads: list[str]) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    (stamp,) = file_stamps(tmp_path, [file])
    time = file.stat().st_mtime_ns
    assert stamp.modified == time
    unknown = FileStamp(stamp.path, stamp.bytes, stamp.digest)
    assert unknown == stamp  # when it was written is not what it is
    for given, before, verify, read in [
        (stamp, None, False, False),
        (stamp, None, True, True),
        (unknown, None, False, True),
        (unknown, time, False, True),
        (unknown, time + 1, False, False),
    ]:
        reads.clear()
        assert intact(tmp_path, [given], before=before, verify=verify)
        assert bool(reads) is read
    os.utime(file, ns=(time, time - 1))
    reads.clear()
    assert intact(tmp_path, [stamp])
    assert reads == ["a"]
    file.write_bytes(b"abd")
    assert not intact(tmp_path, [stamp])
    assert not intact(tmp_path, [FileStamp("a", 4, stamp.digest, file.stat().st_mtime_ns)])


def test_names_of_equal_stems_are_numbered() -> None:
    given = ["a/x.svs", "b/x.svs", "c/X.svs", "d/x-2.svs", "e/x.svs", "f/x-2.svs", "g/x-4.svs", "h/x.svs"]
    found = _names([Path(path) for path in given])
    assert found == ["x", "x-3", "X-2", "x-2-2", "x-5", "x-2-3", "x-4", "x-6"]


def test_many_equal_stems_take_no_time() -> None:
    """Each name was looked for from 1 on: 30,000 slides took minutes."""
    found = _names([Path(f"{number}/slide.dcm") for number in range(30_000)])
    assert (len(set(found)), found[:2], found[-1]) == (30_000, ["slide", "slide-2"], "slide-30000")
