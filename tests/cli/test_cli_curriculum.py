"""`cellmix-dali curriculum`: every value against the curriculum itself, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from cellmix_dali.curriculum import PATCH_STRATEGIES, RATIO_STRATEGIES, Curriculum
from cellmix_dali.errors import ArgumentError
from cellmix_dali.previews import made_up_losses, read_losses, run_strategies

Run = Callable[..., tuple[int, str, str]]
LOSSES = (0.9, 0.5, 0.48, 0.3, 0.6, 0.2, 0.1)


@pytest.fixture
def run(run: Run) -> Run:
    """Run `cellmix-dali curriculum`."""
    return partial(run, "curriculum")


def colours(path: Path) -> int:
    with Image.open(path) as picture:
        assert picture.size[0] > 500
        found = picture.convert("RGB").getcolors(1 << 24)
        assert found is not None
        return len(found)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log such as trainers write: several rows per epoch, the loss in one of them."""
    path = tmp_path / "metrics.csv"
    rows = [f"{epoch},{epoch * 10},\n{epoch},{epoch * 10 + 9},{loss}" for epoch, loss in enumerate(LOSSES)]
    path.write_text("epoch,step,train_loss\n" + "\n".join(rows) + "\n")
    return path


def test_every_strategy_on_a_recorded_loss(run: Run, log: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures" / "curriculum.png"
    options = ["--loss-csv", log, "--loss-column", "train_loss", "--tile-size", 224, "--warmup-epochs", 1, "--seed", 3]
    code, text, err = run(*options, "--out", out, "--json")
    assert (code, err) == (0, "")
    found = json.loads(text)
    assert found["loss"] == list(LOSSES)
    assert found["loss_source"] == "train_loss of metrics.csv"
    assert list(found["patch_size"]) == list(PATCH_STRATEGIES)
    assert list(found["fix_ratio"]) == list(RATIO_STRATEGIES)
    for patch_strategy in PATCH_STRATEGIES:  # in all combinations, as they might depend on each other
        for ratio_strategy in RATIO_STRATEGIES:
            curriculum = Curriculum(
                epochs=len(LOSSES), tile_size=224, warmup_epochs=1, seed=3, patch_strategy=patch_strategy,
                ratio_strategy=ratio_strategy,
            )  # fmt: skip
            for epoch, loss in enumerate(LOSSES):
                assert found["patch_size"][patch_strategy][epoch] == curriculum.patch_size
                assert found["fix_ratio"][ratio_strategy][epoch] == curriculum.fix_ratio
                if "loss_hold" in (patch_strategy, ratio_strategy):
                    assert found["threshold"][epoch] == curriculum.threshold
                    assert found["learned"][epoch] == (epoch > 0 and loss <= curriculum.threshold)
                curriculum.step(loss)
    assert colours(out) > 50


def test_the_table_says_the_same(run: Run, log: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.svg"
    code, text, err = run(
        "--loss-csv", log, "--loss-column", "train_loss", "--epochs", 10, "--patch-strategy", "fixed",
        "--patch-strategy", "linear", "--ratio-strategy", "loss_hold", "--patch-size", 96, "--out", out,
    )  # fmt: skip
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["epoch"] == [str(epoch) for epoch in range(len(LOSSES))]
    assert rows["loss"] == [f"{loss:.2f}" for loss in LOSSES]
    assert rows["fixed"] == ["96"] * len(LOSSES)
    planned = Curriculum(epochs=10, tile_size=384, patch_strategy="linear")
    sizes = []
    for loss in LOSSES:
        sizes.append(str(planned.patch_size))
        planned.step(loss)
    assert rows["linear"] == sizes
    assert "reverse" not in rows
    assert "ends after 7 of the 10 epochs" in text
    assert out.read_text().startswith("<?xml")


def test_without_a_record_the_loss_is_made_up_and_says_so(run: Run, tmp_path: Path) -> None:
    code, text, _ = run("--out", tmp_path / "c.png", "--json")
    assert code == 0
    found = json.loads(text)
    assert found["epochs"] == len(found["loss"]) == 50
    assert "made-up" in found["loss_source"]
    # Both outcomes of the test occur, so that every strategy has something to show.
    assert 5 < sum(found["learned"]) < 45
    assert len(set(found["patch_size"]["loss_back"])) > 2
    assert made_up_losses(7).losses == made_up_losses(7).losses
    assert len(made_up_losses(7).losses) == 7


def test_more_losses_than_epochs(run: Run, log: Path, tmp_path: Path) -> None:
    code, text, _ = run("--loss-csv", log, "--loss-column", "train_loss", "--epochs", 3, "--out", tmp_path / "c.pdf")
    assert code == 0
    assert "goes on to 7 epochs; the first 3 are shown" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("loss\n0.5\nnan\n", "line 3: loss is 'nan'"),
        ("loss,x\n0.5,1\n,1\n", "line 3: column 'loss' is empty"),
        ("epoch,loss\n0,0.5\n2,0.4\n", "line 3: epoch 2 follows epoch 0"),
        ("epoch,loss\n0,0.5\n0,0.4\n", "line 3: epoch 0 follows epoch 0"),
        ("epoch,loss\nfirst,0.5\n", "line 2: epoch is 'first'"),
        ("epoch,loss\n0,\n1,\n", "empty in every row"),
        ("epoch,train_loss\n0,0.5\n", "Or name the column that holds the loss"),
        ("loss\n", "no rows"),
        ("", "cannot be read"),
    ],
)
def test_records_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "loss.csv"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=words):
        read_losses(path)


def test_a_plain_record(tmp_path: Path) -> None:
    path = tmp_path / "loss.csv"
    path.write_text("loss\n0.5\n4e-1\n")
    assert read_losses(path).losses == (0.5, 0.4)
    path.write_text("epoch,loss,other\n1,0.5,x\n2, 0.4,y\n")
    assert read_losses(path).losses == (0.5, 0.4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--loss-csv", "/nowhere.csv"], "no file at /nowhere.csv"),
        (["--tile-size", "250"], "No patch size fits"),
        (["--patch-strategy", "lin"], "Did you mean 'linear'?"),
        (["--ratio-strategy", "decoy"], "Did you mean 'decay'?"),
        (["--patch-strategy", "linear", "--patch-size", "48"], "not among those asked for"),
        (["--warmup-epochs", "60"], "warmup_epochs=60"),
        (["--basic-ratio", "0.01"], "basic_ratio=0.01"),
        (["--fix-ratio", "1.5"], "fix_ratio=1.5"),
        (["--jump", "od"], "Did you mean 'odd'?"),
        (["--out", "picture.jpeg"], "Unknown kind of picture"),
        (["--out", "{folder}.png"], "is a folder"),
        (["--epochs", "0"], "--epochs"),
    ],
)
def test_what_it_refuses(run: Run, tmp_path: Path, arguments: list[str], words: str) -> None:
    folder = tmp_path / "folder"
    folder.with_suffix(".png").mkdir()
    given = [argument.format(folder=folder) for argument in arguments]
    code, _, err = run(*([] if "--out" in given else ["--out", tmp_path / "c.png"]), *given)
    assert code == 2
    assert words in err


def test_nothing_to_run() -> None:
    with pytest.raises(ArgumentError, match="nothing to run"):
        run_strategies([], epochs=3, tile_size=384)
