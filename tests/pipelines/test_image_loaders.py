"""Loaders over image files: right pixels and labels, exact epochs, a curriculum in force at once, resume, bad files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from closed_loader import check_closed_within_a_pass
from numpy.typing import NDArray
from PIL import Image

from cellmix_dali import Curriculum
from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.mixing import METHODS
from cellmix_dali.pipelines import (
    ImageCache,
    ImageSource,
    Loader,
    evaluate_image_loader,
    train_image_loader,
    unreadable_images,
)

Batch = dict[str, torch.Tensor]
COUNT, CLASSES, SIDE, BATCH = 22, 3, 64, 4
LABELS = np.arange(COUNT) % CLASSES
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # the images' own numbers


def colour(item: int) -> tuple[int, int, int]:
    """Each file has its own."""
    return 10 * item + 5, 250 - 10 * item, (37 * item) % 250


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of one colour each, of many sizes, some with names that are no ASCII."""
    folder = tmp_path_factory.mktemp("images")
    names = []
    for item in range(COUNT):
        path = folder / f"{'bild-ü ' if item % 5 == 0 else 'image'}{item}.png"
        Image.new("RGB", (40 + 7 * item, 100 - 3 * item), colour(item)).save(path)
        names.append(str(path))
    return names


def train(files: list[str], **arguments: object) -> Loader[ImageSource]:
    own: dict[str, object] = {
        "num_classes": CLASSES,
        "batch_size": BATCH,
        "image_size": SIDE,
        "method": None,
        "seed": 3,
    }
    own |= PLAIN | arguments
    return train_image_loader(files, LABELS, **own)  # type: ignore[arg-type]


def items_of(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which file each pixel (..., 3) is of."""
    colours = np.array([colour(item) for item in range(COUNT)])
    distance = np.abs(pixels[..., None, :] - colours).sum(axis=-1)
    assert distance.min(axis=-1).max() == 0
    return distance.argmin(axis=-1)


def pixels_of(batch: Batch) -> NDArray[np.int64]:
    return batch["images"].permute(0, 2, 3, 1).round().long().numpy()


def check_equal(ones: list[Batch], others: list[Batch]) -> None:
    assert len(ones) == len(others) > 0
    for one, other in zip(ones, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


def test_evaluation_gives_every_image_once_in_order(files: list[str]) -> None:
    loader = evaluate_image_loader(files, LABELS, batch_size=BATCH, image_size=SIDE, **PLAIN)
    for _ in range(2):
        batches = list(loader)
        assert [len(batch["images"]) for batch in batches] == [4, 4, 4, 4, 4, 2]
        assert len(loader) == 6
        assert torch.cat([batch["item"] for batch in batches]).flatten().tolist() == list(range(COUNT))
        assert torch.cat([batch["labels"] for batch in batches]).flatten().tolist() == LABELS.tolist()
        shown = np.concatenate([items_of(pixels_of(batch)) for batch in batches])
        assert shown.shape == (COUNT, SIDE, SIDE)
        assert (shown == np.arange(COUNT)[:, None, None]).all()


@pytest.mark.parametrize(
    ("name", "mode", "tolerance"),
    [
        ("a.png", "RGB", 0),
        ("a.bmp", "RGB", 0),
        ("a.tif", "RGB", 0),
        ("a.jpg", "RGB", 1),
        ("grey.png", "L", 0),
        ("grey.jpg", "L", 1),
        ("clear.png", "RGBA", 0),
    ],
)
def test_formats_are_read_as_pillow_reads_them(tmp_path: Path, name: str, mode: str, tolerance: int) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    noise = np.random.default_rng(0).integers(0, 40, (SIDE, SIDE, 4))
    pattern = np.stack([3 * x, 3 * y, x + y, 0 * x + 200], axis=-1) + noise
    channels = pattern.astype(np.uint8)[..., 0] if mode == "L" else pattern.astype(np.uint8)[..., : len(mode)]
    Image.fromarray(channels).save(tmp_path / name)
    (batch,) = evaluate_image_loader([tmp_path / name], [0], batch_size=1, image_size=SIDE, **PLAIN)
    with Image.open(tmp_path / name) as image:
        want = np.asarray(image)[..., :3] if mode == "RGBA" else np.asarray(image.convert("RGB"))
    assert np.abs(pixels_of(batch)[0] - want).max() <= tolerance


def test_training_epochs_are_exact_and_labels_belong_to_their_images(files: list[str]) -> None:
    loader = train(files)
    epochs = [list(loader) for _ in range(3)]
    assert len(loader) == 5
    orders = []
    for batches in epochs:
        assert [len(batch["images"]) for batch in batches] == [BATCH] * 5  # two files are left out, others every time
        order = torch.cat([batch["item"] for batch in batches]).flatten()
        assert len(set(order.tolist())) == 20
        shown = np.concatenate([items_of(pixels_of(batch)) for batch in batches])
        assert (shown == order.numpy()[:, None, None]).all()
        soft = torch.cat([batch["labels"] for batch in batches])
        assert torch.equal(soft, torch.eye(CLASSES)[torch.from_numpy(LABELS)[order]])
        orders.append(order.tolist())
    assert orders[0] != orders[1] != orders[2] != orders[0]
    check_equal(epochs[0], list(train(files)))
    assert torch.cat([batch["item"] for batch in train(files, seed=4)]).flatten().tolist() != orders[0]


def test_flips_turn_images_over_as_drawn(tmp_path: Path) -> None:
    corners = np.zeros((SIDE, SIDE, 3), np.uint8)
    corners[: SIDE // 2, : SIDE // 2] = 200
    for item in range(32):
        Image.fromarray(corners).save(tmp_path / f"{item}.png")
    names = [str(tmp_path / f"{item}.png") for item in range(32)]
    given = {"num_classes": 2, "batch_size": 32, "image_size": SIDE, "method": None} | PLAIN
    (batch,) = train_image_loader(names, [0, 1] * 16, **given)  # type: ignore[arg-type]
    pixels = pixels_of(batch)[:, [1, 1, -2, -2], [1, -2, 1, -2], 0]
    assert (np.sort(pixels, axis=1) == [0, 0, 0, 200]).all()
    assert set(pixels.argmax(axis=1).tolist()) == {0, 1, 2, 3}
    (same,) = train_image_loader(names, [0, 1] * 16, flips=False, **given)  # type: ignore[arg-type]
    assert (pixels_of(same) == corners).all()


@pytest.mark.parametrize("method", ["CellMix-Group", "CellMix-Random4", "CutMix", "SaliencyMix"])
@pytest.mark.parametrize("engine", ["native", "numba"])
def test_mixed_labels_are_the_shares_of_the_pixels(files: list[str], method: str, engine: str) -> None:
    constants = {"patch_size": 16, "fix_ratio": 0.5} if METHODS[method].is_cellmix else {}
    loader, plain = train(files, method=method, p=1.0, engine=engine, **constants), train(files)
    mixed_at_all = 0
    for batch, before in zip(loader, plain, strict=True):
        assert torch.equal(batch["item"], before["item"])  # the order is that of a run without mixing
        shown = items_of(pixels_of(batch))
        shares = np.stack([(LABELS[shown] == label).mean(axis=(1, 2)) for label in range(CLASSES)], axis=1)
        np.testing.assert_allclose(batch["labels"].numpy(), shares, atol=1e-6)
        mixed_at_all += int((shown != before["item"].numpy()[:, None, None]).any())
    assert mixed_at_all >= 3


def test_every_method_makes_batches(files: list[str]) -> None:
    for name, method in METHODS.items():
        constants = {"patch_size": 16, "fix_ratio": 0.5} if method.is_cellmix else {}
        batch = next(iter(train(files, method=name, p=1.0, engine="native", **constants)))
        assert batch["images"].shape == (BATCH, 3, SIDE, SIDE)
        np.testing.assert_allclose(batch["labels"].sum(dim=1), 1, atol=1e-6)
        assert batch["triggered"].tolist() == [1] * BATCH


class Steps:
    """A curriculum that a test moves by hand."""

    patch_size, fix_ratio = 32, 0.25


def test_a_curriculum_is_in_force_from_the_first_batch_and_in_none_before(files: list[str]) -> None:
    steps = Steps()
    loader = train(files, method="CellMix-Group", curriculum=steps, p=1.0, prefetch_queue_depth=3)
    for epoch, (patch_size, fix_ratio) in enumerate([(32, 0.25), (16, 0.5), (8, 0.75)]):
        steps.patch_size, steps.fix_ratio = patch_size, fix_ratio
        batches = list(loader)
        assert len(batches) == 5
        for number, batch in enumerate(batches):
            assert batch["patch_size"].tolist() == [patch_size] * BATCH
            assert batch["fix_ratio"].tolist() == [fix_ratio] * BATCH
            assert (batch["epoch"][0].item(), batch["iteration"][0].item()) == (epoch, number)


@pytest.mark.parametrize(("finished", "within"), [(0, 0), (0, 2), (0, 5), (1, 2)])
def test_a_new_loader_goes_on_with_the_very_batches(files: list[str], finished: int, within: int) -> None:
    def make() -> tuple[Loader[ImageSource], Curriculum]:
        curriculum = Curriculum(epochs=4, tile_size=SIDE, patch_strategy="linear", ratio_strategy="decay")
        return train(files, method="CellMix-Group", curriculum=curriculum), curriculum

    def run(loader: Loader[ImageSource], curriculum: Curriculum, epochs: int) -> list[Batch]:
        batches = []
        for _ in range(epochs):
            batches += list(loader)
            curriculum.step(0.1)
        return batches

    want = run(*make(), 3)
    loader, curriculum = make()
    first = run(loader, curriculum, finished)
    going = iter(loader)
    first += [next(going) for _ in range(within)]
    state = loader.state_dict()
    loader, curriculum = make()
    loader.load_state_dict(json.loads(json.dumps(state)))
    done = finished
    if within == len(loader):  # an epoch's last batch was the last: its step is still to come
        curriculum.step(0.1)
        done += 1
    check_equal(want, first + run(loader, curriculum, 3 - done))


def test_a_pass_that_is_broken_off_is_over(files: list[str]) -> None:
    loader, other = train(files), train(files)
    for number, _ in enumerate(loader):
        if number == 1:
            break
    list(other)
    check_equal(list(other), list(loader))
    assert loader.epoch == 2


def test_a_look_at_one_batch_uses_up_nothing(files: list[str]) -> None:
    loader, other = train(files), train(files)
    next(iter(loader))
    assert loader.epoch == 0
    check_equal(list(other), list(loader))
    assert loader.epoch == 1


def test_closed_within_a_pass_it_says_so_and_keeps_its_place(files: list[str]) -> None:
    check_closed_within_a_pass(train(files))


def test_a_state_of_another_loader_is_refused(files: list[str]) -> None:
    state = train(files).state_dict()
    with pytest.raises(ArgumentError, match="seed was 3, is 4"):
        train(files, seed=4).load_state_dict(state)
    with pytest.raises(ArgumentError, match="files_and_labels"):
        train([*files[1:], files[0]]).load_state_dict(state)
    with pytest.raises(ArgumentError, match="not a state of a loader"):
        train(files).load_state_dict({})


@dataclass
class Damaged:
    """A folder's files, some of them bad."""

    files: list[str]
    bad: dict[int, str]


@pytest.fixture
def damaged(files: list[str], tmp_path: Path) -> Damaged:
    names = list(files)
    whole = tmp_path / "whole.jpg"
    Image.effect_noise((80, 80), 60).convert("RGB").save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "words.tif").write_text("no image at all")
    names[2], names[3], names[11], names[20] = (
        str(whole),
        str(cut),
        str(tmp_path / "empty.png"),
        str(tmp_path / "words.tif"),
    )
    return Damaged(names, {3: "damaged, cut short", 11: "empty", 20: "damaged, cut short"})


def test_unreadable_files_are_found_and_no_others(damaged: Damaged) -> None:
    seen = []
    found = unreadable_images(
        [*damaged.files, "/nowhere/a.png"], progress=lambda done, count: seen.append((done, count))
    )
    assert list(found) == [3, 11, 20, COUNT]
    for number, words in damaged.bad.items():
        assert words in found[number]
    assert "No such file" in found[COUNT]
    assert seen[-1] == (COUNT + 1, COUNT + 1)
    assert unreadable_images([]) == {}


@pytest.mark.parametrize(
    ("name", "mode", "readable"),
    [
        ("one.tif", "1", False),
        ("wide.tif", "I", False),
        ("moving.gif", "P", False),
        ("one.png", "1", True),
        ("palette.tif", "P", True),
        ("ink.tif", "CMYK", True),
        ("half.tif", "F", True),
    ],
)
def test_what_only_pillow_decodes_is_unreadable(tmp_path: Path, name: str, mode: str, readable: bool) -> None:
    ramp = Image.fromarray(np.arange(64 * 64, dtype=np.uint32).reshape(64, 64).astype(np.uint8))
    ramp.convert("RGB").convert(mode if mode not in "IF" else "L").convert(mode).save(tmp_path / name)
    found = unreadable_images([tmp_path / name])
    assert (found == {}) == readable
    # DALI says the same.
    cache = ImageCache(32)
    if readable:
        cache.fill([tmp_path / name])
        assert len(cache) == 1
    else:
        assert "DALI does not decode" in found[0]
        with pytest.raises(CellMixDaliError):
            cache.fill([tmp_path / name])


def test_a_bad_file_ends_a_pass_with_its_name(damaged: Damaged) -> None:
    loader = train(damaged.files, shuffle=False)
    with pytest.raises(CellMixDaliError, match=r"cannot be read:\n.*cut.jpg: .*cut short"):
        list(loader)


@pytest.mark.parametrize(
    ("labels", "arguments", "words"),
    [
        ([0, 1], {}, "one class index for each of 22"),
        (LABELS + 1, {}, "from 1 to 3"),
        (LABELS - 1, {}, "from -1 to 1"),
        (LABELS / 2, {}, "one class index"),
        (LABELS, {"batch_size": 23}, "do not fill one batch"),
        (LABELS, {"image_size": 0}, "at least one pixel"),
        (LABELS, {"method": "CutMixx"}, "Did you mean 'CutMix'"),
        (LABELS, {"method": "CellMix"}, "needs either a curriculum"),
        (LABELS, {"patch_size": 16}, "Without a method nothing is mixed"),
        (LABELS, {"method": "CellMix-Group4", "patch_size": 16, "fix_ratio": 0.5, "batch_size": 6}, "does not divide"),
        (LABELS, {"method": "CellMix", "patch_size": 15, "fix_ratio": 0.5}, "patch_size"),
        (LABELS, {"engine": "numby"}, "Did you mean 'numba'"),
        (LABELS, {"device": "gpus"}, "Did you mean 'gpu'"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    files: list[str], labels: NDArray[np.int64], arguments: dict[str, object], words: str
) -> None:
    own = {"num_classes": CLASSES, "batch_size": BATCH, "image_size": SIDE, "method": None} | arguments
    with pytest.raises(ArgumentError, match=words):
        train_image_loader(files, labels, **own)  # type: ignore[arg-type]


def test_missing_files_are_refused_at_once(files: list[str]) -> None:
    with pytest.raises(ArgumentError, match=r"1 of 22 image files are not there, the first is /nowhere/a\.png"):
        train([*files[1:], "/nowhere/a.png"])
    with pytest.raises(ArgumentError, match="nothing to evaluate"):
        evaluate_image_loader([], [], batch_size=2)
