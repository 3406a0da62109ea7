"""The front page and the pages of docs/: what is printed runs, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cellmix_dali import TileTable
from cellmix_dali.mixing import METHODS, make_mixer
from cellmix_dali.synthetic import render_slides

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_front_page_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len(CODE) == 2


def test_the_pipeline_of_your_own(table: TileTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    many = table.select(np.arange(128) % len(table))
    many.with_labels(np.arange(128) % 2).save("tiles.arrow")
    scope: dict[str, object] = {}
    exec(CODE[0], scope)
    pipeline = scope["pipeline"]()  # type: ignore[operator]
    pipeline.build()
    images, labels = (np.array(output.as_array()) for output in pipeline.run())
    assert images.shape == (64, 3, 256, 256)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-5)
    assert ((labels > 0.01) & (labels < 0.99)).any()
    del pipeline
    scope["source"].close()  # type: ignore[attr-defined]


def test_the_training_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    slides = render_slides(tmp_path, count=4, side=2048, seed=1)
    lines = [f"{slide.path},{'ab'[number % 2]}" for number, slide in enumerate(slides)]
    Path("slides.csv").write_text("\n".join(["slide,label", *lines]) + "\n")
    code = CODE[1].replace("range(50)", "range(2)").replace("        ...\n", "        seen.append(batch)\n")
    assert code.count("range(2)") == code.count("seen.append") == 1
    seen: list[dict[str, object]] = []
    scope: dict[str, object] = {"mean_loss_per_sample": 0.5, "seen": seen}
    exec(code, scope)
    loader = scope["loader"]
    assert len(seen) == 2 * len(loader) > 0  # type: ignore[arg-type]
    assert not scope["left_out"]
    assert {"images", "labels", "tile", "patch_size"} <= seen[0].keys()
    loader.close()  # type: ignore[attr-defined]


def test_the_method_that_contributors_are_shown() -> None:
    (code,) = [
        each
        for each in re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
        if "register_method" in each
    ]
    exec(code, {"np": np})
    try:
        images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
        mixed = make_mixer("HalfMix").draw(3, 8, epoch=0, iteration=0).apply(images)
    finally:
        del METHODS["HalfMix"]
    np.testing.assert_array_equal(mixed[:, :4], images[:, :4])
    np.testing.assert_array_equal(mixed[:, 4:], np.roll(images, 1, axis=0)[:, 4:])


def test_the_table_of_methods_is_that_of_the_registry() -> None:
    rows: dict[type, list[str]] = {}
    for name, method in METHODS.items():
        rows.setdefault(method.mixer, []).append(f"`{name}`")
    lines = README.splitlines()
    start = lines.index("| method | what it does | label weight | p decides per | paper |") + 2
    assert lines[start : lines.index("", start)] == [
        f"| {', '.join(names)} | {of.does} | {of.label_weight} | {of.trigger} | "
        f"[{of.paper}](https://arxiv.org/abs/{of.paper}) |"
        for of, names in rows.items()
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    for link in links:
        if not link.startswith(("http://", "https://")):
            assert (page.parent / link).exists(), link
