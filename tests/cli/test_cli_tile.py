"""`cellmix-dali tile`: what a user types, reads and gets."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cellmix_dali.shards import open_tiles, tile_classes
from cellmix_dali.synthetic import RenderedSlide, render_slides

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run) -> Run:
    """Run `cellmix-dali tile` in this process."""
    return lambda *arguments: run("tile", *arguments, "--workers", 0)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[RenderedSlide]:
    return render_slides(tmp_path_factory.mktemp("slides"), count=2, side=512, seed=4)


def test_all_good(run: Run, slides: list[RenderedSlide], tmp_path: Path) -> None:
    folder, out = slides[0].path.parent, tmp_path / "out"
    code, said, err = run(folder, "--out", out, "--tissue", 0)
    assert (code, err) == (0, "")
    assert "8 tiles of 2 slides" in said
    assert "8 copied as they are, 0 encoded" in said
    assert f"2 of 2 slides: {slides[1].path.name}, 4 tiles" in said
    assert sorted(path.name for path in out.iterdir()) == [
        "bad_tiles.jsonl", "manifest.json", "overviews", "parts", "plans", "report.html", "report.json", "shards",
        "slides.jsonl", "tiles.parquet",
    ]  # fmt: skip
    assert len(open_tiles(out)) == 8
    report = json.loads((out / "report.json").read_text())
    assert report["totals"]["tiles"] == 8
    assert "slide-1.svs" in (out / "report.html").read_text()
    code, _, err = run(folder, "--out", out, "--tissue", 0)
    assert code == 2
    assert "--resume" in err
    assert run(folder, "--out", out, "--tissue", 0, "--resume")[0] == 0
    code, _, err = run(folder, "--out", out, "--tissue", 0.1, "--resume")
    assert code == 2
    assert "tissue was 0.0, is 0.1" in err


def test_some_bad(run: Run, slides: list[RenderedSlide], tmp_path: Path) -> None:
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"no slide")
    code, said, err = run(slides[0].path, bad, "--out", tmp_path / "out", "--tissue", 0, "--coords-only")
    assert (code, err) == (3, "")
    assert "1 of 2 slides failed" in said
    assert "4 tiles of 1 of 2 slides" in said
    assert said.count("bad.svs") == 1  # why is said once
    again = run(slides[0].path, bad, "--out", tmp_path / "out", "--tissue", 0, "--coords-only", "--resume")
    assert again[1].count("bad.svs") == 1  # also where a run before found it
    assert len(open_tiles(tmp_path / "out")) == 4
    # Asked to, it goes on to what comes next in a script; but not where there is nothing to go on with.
    assert (
        run(slides[0].path, bad, "--out", tmp_path / "on", "--tissue", 0, "--coords-only", "--skip-bad-slides")[0] == 0
    )
    assert run(bad, "--out", tmp_path / "none", "--tissue", 0, "--coords-only", "--skip-bad-slides")[0] == 3


def test_every_option(run: Run, slides: list[RenderedSlide], tmp_path: Path) -> None:
    lines = [f"{slide.path},{name}" for slide, name in zip(slides, ("b", "a"), strict=True)]
    (tmp_path / "list.csv").write_text("\n".join(["slide,label", *lines]) + "\n")
    code, _, err = run(
        tmp_path / "list.csv", "--out", tmp_path / "out", "--tile-size", 100, "--mpp", 0.6, "--mpp-override", 0.5,
        "--overlap", 10, "--edge", "pad", "--align", "none", "--tissue", 0.1, "--format", "png", "--shard-size", 7,
        "--quality", 80, "--subsampling", "4:4:4", "--device", "cpu", "--classes", "b,a",
            "--annotations-origin", "level0", "--tissue-method", "saturation",
    )  # fmt: skip
    assert (code, err) == (0, "")
    table = open_tiles(tmp_path / "out")
    assert set(table.size.tolist()) == {120}
    assert tile_classes(table) == ("b", "a")
    settings = json.loads((tmp_path / "out" / "manifest.json").read_text())["settings"]
    assert settings == {
        "tile_size": 100, "mpp": 0.6, "level": None, "magnification": None, "mpp_override": 0.5, "overlap": 10,
        "edge": "pad", "align": "none", "tissue": 0.1, "tissue_method": "saturation", "mask": None, "annotations": None,
            "annotations_origin": "level0", "classes": ["b", "a"],
        "min_share": 0.5, "format": "png", "quality": 80, "subsampling": "4:4:4", "shard_size": 7,
        "coords_only": False, "device": "cpu",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere.svs"], "no slide at /nowhere.svs"),
        (["/nowhere.csv"], "/nowhere.csv"),
        ([], "slides"),
        (["{slide}", "--mpp", "0.5", "--level", "0"], "give only one"),
        (["{slide}", "--edge", "padd"], "is not one of 'skip', 'pad'"),
        (["{slide}", "--format", "tiff"], "format"),
        (["{slide}", "--align", "blocks", "--overlap", "8"], "blocks do not overlap"),
        (["{slide}", "--annotations", "/nowhere"], "/nowhere"),
        (["{slide}", "--classes", "a,b"], "classes without labels"),
        (["{slide}", "--tissue", "2"], "tissue"),
        (["{slide}", "--device", "gpus"], "is not one of 'cpu', 'gpu'"),
    ],
)
def test_wrong_use(run: Run, slides: list[RenderedSlide], tmp_path: Path, arguments: list[str], words: str) -> None:
    given = [argument.format(slide=slides[0].path) for argument in arguments]
    code, _, err = run(*given, "--out", tmp_path / "out")
    assert code == 2
    assert words in err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Let no file grow above so many bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(run: Run, slides: list[RenderedSlide], tmp_path: Path, small_files: Callable[[int], None]) -> None:
    small_files(20_000)
    code, _, err = run(slides[0].path, "--out", tmp_path / "out", "--tissue", 0)
    assert code == 1
    assert "cannot be written" in err
    assert "--resume" in err
    small_files(resource.RLIM_INFINITY)
    assert run(slides[0].path, "--out", tmp_path / "out", "--tissue", 0, "--resume")[0] == 0
    assert len(open_tiles(tmp_path / "out")) == 4


def test_folders_that_are_not_looked_into_are_told(run: Run, slides: list[RenderedSlide], tmp_path: Path) -> None:
    """DICOM slides lie in a folder each, as a rule."""
    folder = tmp_path / "archive"
    for name in ("one", "two", ".hidden"):
        (folder / name).mkdir(parents=True)
    (folder / slides[0].path.name).write_bytes(slides[0].path.read_bytes())
    code, out, err = run(folder, "--out", tmp_path / "out", "--coords-only", "--tissue", "0")
    assert code == 0
    told = out + err
    assert f"2 folders within the named ones were not looked into, the first is {folder}/one" in told
    code, out, err = run(folder / slides[0].path.name, "--out", tmp_path / "alone", "--coords-only", "--tissue", "0")
    assert "not looked into" not in out + err


def test_interrupted_by_ctrl_c(
    run: Run, slides: list[RenderedSlide], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = str(Path(__file__).parents[1] / "tiling")
    monkeypatch.syspath_prepend(tests)
    from hanging import METHOD, slide_that_hangs

    out, waits = tmp_path / "out", tmp_path / "waits.tiff"
    arguments = [*(str(slide.path) for slide in slides), str(waits), "--out", str(out), "--tissue", "0"]
    arguments += ["--tissue-method", METHOD, "--mixed-resolutions"]
    code = "from cellmix_dali.cli import main; main()"
    with slide_that_hangs(waits, side=304):
        process = subprocess.Popen(
            [sys.executable, "-c", code, "tile", *arguments, "--workers", "1"],
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])},
        )
        deadline = time.monotonic() + 60
        while len(list(out.glob("parts/*"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to the workers, too
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode() == "Interrupted. What is done is kept: go on with --resume.\n"
    waits.write_bytes(slides[0].path.read_bytes())
    assert run(*arguments, "--resume")[0] == 0
    assert len(open_tiles(out)) == 3 * 4
