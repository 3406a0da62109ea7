"""Options that cannot work: each command says so before it imports what takes long."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# A quarter of a second without these; pyarrow, tifffile and shapely double it, DALI and PyTorch take seconds.
SLOW = (
    *("pyarrow", "tifffile", "openslide", "shapely", "h5py", "matplotlib", "jinja2", "dask", "distributed"),
    *("numba", "torch", "nvidia.dali"),
)
CODE = f"""
import json, sys
from rich.console import Console
from cellmix_dali.cli import main
for line in sys.stdin:
    sys.argv = ["cellmix-dali", *json.loads(line)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    print("\\n", json.dumps([code, [name for name in {SLOW!r} if name in sys.modules]]), flush=True)
"""
REFUSED = [
    ("tile slides --out new --edge white", "edge"),
    ("tile slides --out new --align rows", "align"),
    ("tile slides --out new --format gif", "format"),
    ("tile slides --out new --subsampling 4:1:1", "subsampling"),
    ("tile slides --out new --tissue-method densty", "tissue method"),
    ("tile slides --out new --mpp 0.5 --level 1", "only one"),
    ("tile slides --out new --overlap 256", "overlap=256"),
    ("tile slides --out new --annotations-origin top", "annotations-origin"),
    ("embed slides --model timm:vit --out new --format gif", "format"),
    ("embed slides --model timm:vit --out new --shard 3/2", "shard"),
    ("train slides list.csv --method CutMax", "CutMax"),
    ("train slides list.csv --method CutMix --patch-size 32", "patch-size"),
    ("train slides list.csv --patch-size 30", "30"),
    ("train slides list.csv --model resnet", "resnet"),
    ("train slides list.csv --validation 1.5", "validation=1.5"),
    ("train slides list.csv --mpp 0", "mpp=0"),
    ("train tiles slides --p 2", "p=2"),
    ("train tiles slides --learning-rate 3", "learning_rate=3"),
    ("train images slides --method CutMax", "CutMax"),
    ("train images slides --fold 1", "--fold"),
    ("demo --method CutMax --out new", "CutMax"),
    ("demo --slides slides --weight-decay -1 --out new", "weight_decay=-1"),
    ("inspect slides --device tpu", "device"),
    ("preview slides --method Cut", "Cut"),
    ("preview slides --out x.bmp", "bmp"),
    ("preview slides --tissue-method densty", "tissue method"),
    ("curriculum --out x.bmp", "bmp"),
    ("curriculum --jump every --out new/x.png", "jump"),
    ("compare images slides --folds f.csv --out new --methods CutMax", "CutMax"),
    ("compare images slides --folds f.csv --out new --curricula lineal", "lineal"),
    ("compare slides list.csv --out new --p 2", "p=2"),
    ("compare slides list.csv --out new --against CellMix-Grup", "compare with"),
    ("compare tiles slides --out new --learning-rate 0.001,fast", "learning-rate"),
]


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, list[str]]]:
    """Exit code, and what slow modules were there, after each command; all in one process, so that it is quick."""
    place = tmp_path_factory.mktemp("refused")
    (place / "slides").mkdir()
    (place / "slides" / "a.svs").touch()
    (place / "list.csv").write_text("slide,label\na.svs,x\n")
    lines = "\n".join(json.dumps(command.split()) for command, _ in REFUSED)
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=place, input=lines, text=True, capture_output=True, check=True
    )
    assert sorted(path.name for path in place.iterdir()) == ["list.csv", "slides"]
    found = [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith(" [")]
    assert len(found) == len(REFUSED)
    words = " ".join(done.stderr.split())
    assert [word for _, word in REFUSED if word not in words] == []
    return found


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[command for command, _ in REFUSED])
def test_nothing_slow_is_imported(refusals: list[tuple[int, list[str]]], number: int) -> None:
    assert refusals[number] == (2, [])
