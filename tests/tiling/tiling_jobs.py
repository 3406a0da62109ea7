"""Small jobs, and how their results are compared."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from cellmix_dali.tiling import JobShard, TilingResult, TilingSettings, tile_slides

__all__ = ["SMALL", "TINY", "Tree", "assert_same", "serial", "tree"]

Tree = dict[str, bytes]

# Of tiny slides, whose tiles are copied, too.
TINY = TilingSettings(tile_size=64, tissue=0, shard_size=4)

# Small parts, so that there are many moments to be interrupted at; blocks are copied, so no decoder is needed.
SMALL = TilingSettings(tile_size=256, tissue=0.2, shard_size=4)


_TIMES = re.compile(
    rb'<p class="soft">Started.*?</p>|Time of this run</dt>.*?</dd>|<td class="n">[^<]*</td></tr>', re.S
)


def tree(folder: Path) -> Tree:
    """All files of a job's folder, without what may differ from run to run."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    report = json.loads(found["report.json"])
    assert report.pop("timing")
    found["report.json"] = json.dumps(report, indent=1).encode()
    found["report.html"] = _TIMES.sub(b"", found["report.html"])
    return found


def assert_same(first: Tree, second: Tree) -> None:
    """Files of two jobs are the same, byte for byte."""
    assert sorted(first) == sorted(second)
    for name, content in first.items():
        assert content == second[name], name


def serial(
    sources: str | Path | Sequence[str | Path],
    out: Path,
    settings: TilingSettings = SMALL,
    *,
    resume: bool = False,
    verify: bool = False,
    shard: JobShard | None = None,
    mixed_resolutions: bool = False,
) -> TilingResult:
    """Do a job in this process."""
    options = {"resume": resume, "verify": verify, "shard": shard, "mixed_resolutions": mixed_resolutions}
    return tile_slides(sources, out, settings, **options, workers=0)  # type: ignore[arg-type]
