"""A cache of decoded images: the same batches to the bit, one decoding for many loaders, errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.pipelines import ImageCache, Loader, _image_cache as module, evaluate_image_loader, train_image_loader
from cellmix_dali.pipelines.images import ImageSource

Batch = dict[str, torch.Tensor]
COUNT, CLASSES, SIDE, BATCH = 38, 3, 48, 4  # more files than the cache decodes in one batch
LABELS = np.arange(COUNT) % CLASSES


def render(path: Path, item: int) -> None:
    """Write a picture of its own size, with edges and noise, so that decoding and resizing both show."""
    height, width = 40 + 3 * item, 90 - item
    y, x = np.mgrid[:height, :width]
    discs = (np.hypot(y % 17 - 8, x % 17 - 8) < 4 + item % 4)[..., None] * np.array([-90, -120, 20])
    noise = np.random.default_rng(item).integers(-20, 20, (height, width, 3))
    Image.fromarray((np.array([220, 180, 210]) + discs + noise).clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """JPEG and PNG of many sizes."""
    folder = tmp_path_factory.mktemp("images")
    names = [str(folder / f"bild-ü {item}.{'png' if item % 3 == 0 else 'jpg'}") for item in range(COUNT)]
    for item, name in enumerate(names):
        render(Path(name), item)
    return names


@pytest.fixture(scope="module")
def cache(files: list[str]) -> ImageCache:
    cache = ImageCache(SIDE)
    cache.fill(files)
    return cache


def train(files: list[str], cache: ImageCache | None, **arguments: object) -> Loader[ImageSource]:
    own: dict[str, object] = {"num_classes": CLASSES, "batch_size": BATCH, "image_size": SIDE, "seed": 3, "p": 1.0}
    own |= {"method": "CellMix-Group", "patch_size": 12, "fix_ratio": 0.5} | arguments
    return train_image_loader(files, LABELS, cache=cache, **own)  # type: ignore[arg-type]


def check_equal(ones: list[Batch], others: list[Batch]) -> None:
    assert len(ones) == len(others) > 0
    for one, other in zip(ones, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


def test_it_holds_what_dali_decodes(files: list[str], cache: ImageCache) -> None:
    assert len(cache) == COUNT
    assert cache.nbytes == sum(cache[file].nbytes for file in files) == COUNT * SIDE * SIDE * 3
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}
    with evaluate_image_loader(files, LABELS, batch_size=5, image_size=SIDE, **plain) as loader:  # type: ignore[arg-type]
        shown = torch.cat([batch["images"] for batch in loader]).permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
    for file, pixels in zip(files, shown, strict=True):
        assert cache[file].dtype == np.uint8
        assert (cache[Path(file)] == pixels).all(), file
        assert not cache[file].flags.writeable
    with Image.open(files[0]) as image:
        small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(cache[files[0]] - small).max() <= 2


# Mixing comes after the cache; SaliencyMix looks at the images before it mixes.
@pytest.mark.parametrize("method", [None, "CutMix", "SaliencyMix", "CellMix-Group"])
def test_training_gives_the_same_batches(files: list[str], cache: ImageCache, method: str | None) -> None:
    own = {"method": method} | ({} if method == "CellMix-Group" else {"patch_size": None, "fix_ratio": None})
    with train(files, None, **own) as uncached, train(files, cache, **own) as cached:
        for _ in range(2):
            check_equal(list(cached), list(uncached))


def test_flips_are_made_of_cached_images_too(files: list[str], cache: ImageCache) -> None:
    own = {"method": None, "patch_size": None, "fix_ratio": None}
    with train(files, cache, **own) as flipped, train(files, cache, flips=False, **own) as straight:
        pairs = list(zip(flipped, straight, strict=True))
    assert any(not torch.equal(one["images"], other["images"]) for one, other in pairs)
    with train(files, None, flips=False, **own) as uncached:
        check_equal([straight for _, straight in pairs], list(uncached))


def test_evaluation_gives_the_same_batches(files: list[str], cache: ImageCache) -> None:
    made = [
        evaluate_image_loader(files, LABELS, batch_size=BATCH, image_size=SIDE, cache=given) for given in (None, cache)
    ]
    uncached, cached = (list(loader) + list(loader) for loader in made)
    assert [len(batch["images"]) for batch in cached[:10]] == [BATCH] * 9 + [2]
    check_equal(cached, uncached)


def test_one_cache_serves_many_loaders_and_each_file_is_decoded_once(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{item}.png") for item in range(8)]
    for item, file in enumerate(files):
        render(Path(file), item)
    cache = ImageCache(SIDE, num_threads=1)
    evaluate = {"batch_size": 4, "image_size": SIDE}
    first = evaluate_image_loader(files[:6], LABELS[:6], cache=cache, **evaluate)  # type: ignore[arg-type]
    assert len(cache) == 6
    before = list(first)
    held = {file: cache[file] for file in files[:6]}
    for file in files[:6]:  # what is held is not read again
        Path(file).write_bytes(b"no image any more")
    second = evaluate_image_loader(files + files[:1], [*LABELS[:8], 0], cache=cache, **evaluate)  # type: ignore[arg-type]
    assert len(cache) == 8
    assert all(cache[file] is held[file] for file in held)
    batches = list(second)
    assert torch.equal(torch.cat([b["images"] for b in batches])[:6], torch.cat([b["images"] for b in before]))
    assert torch.equal(batches[2]["images"][0], batches[0]["images"][0])
    second.close()
    check_equal(list(first), before)


@pytest.mark.parametrize("from_cached", [True, False])
def test_a_state_goes_from_cached_to_uncached_and_back(files: list[str], cache: ImageCache, from_cached: bool) -> None:
    one, other = (cache, None) if from_cached else (None, cache)
    with train(files, one) as loader, train(files, other) as resumed:
        next(passing := iter(loader))
        next(passing)
        state = json.loads(json.dumps(loader.state_dict()))
        rest = list(passing) + list(loader)
        resumed.load_state_dict(state)
        check_equal(list(resumed) + list(resumed), rest)
        assert len(rest) == 7 + 9


def test_missing_files_are_named(files: list[str], tmp_path: Path) -> None:
    gone = tmp_path / "gone.png"
    with pytest.raises(ArgumentError, match=r"1 of 2 image files are not there, the first is .*gone\.png"):
        ImageCache(SIDE).fill([files[0], gone])
    with pytest.raises(ArgumentError, match=r"the first is .*gone\.png"):
        evaluate_image_loader([gone], [0], batch_size=1, image_size=SIDE, cache=ImageCache(SIDE))


def test_broken_files_are_named_and_the_others_can_be_had(files: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(Path(files[1]).read_bytes()[:200])
    cache = ImageCache(SIDE)
    with pytest.raises(CellMixDaliError, match=r"These images cannot be read:\n.*broken\.jpg: damaged") as caught:
        evaluate_image_loader([*files, broken], [0] * (COUNT + 1), batch_size=2, image_size=SIDE, cache=cache)
    assert str(caught.value).count(str(tmp_path)) == 1
    with pytest.raises(KeyError):
        cache[broken]
    cache.fill(files)
    assert len(cache) == COUNT


def test_what_does_not_fit_into_memory_is_refused(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "meminfo"
    monkeypatch.setattr(module, "_MEMORY", memory)
    need = COUNT * SIDE * SIDE * 3
    memory.write_text(f"MemTotal:       99999999 kB\nMemAvailable:   {need // 1024 - 1} kB\n")
    cache = ImageCache(SIDE)
    with pytest.raises(ArgumentError, match=r"38 more images of 48 x 48 px takes 0\.3 MB"):
        cache.fill(files)
    assert len(cache) == 0
    cache.fill(files[:30])  # fewer fit
    memory.write_text("MemAvailable:   100 kB\n")
    cache.fill(files)  # what is held counts no more
    assert len(cache) == COUNT


def test_what_cannot_work_is_refused(files: list[str], cache: ImageCache) -> None:
    with pytest.raises(ArgumentError, match="cache holds images of 48 px, image_size=64"):
        evaluate_image_loader(files, LABELS, batch_size=2, image_size=64, cache=cache)
    with pytest.raises(ArgumentError, match="image_size=0"):
        ImageCache(0)
    with pytest.raises(ArgumentError, match="device"):
        ImageCache(SIDE, device="tpu")
    empty = ImageCache(SIDE)
    with pytest.raises(ArgumentError, match="labels"):
        ImageSource(files, LABELS[:3], batch_size=2, image_size=SIDE, cache=empty)
    assert len(empty) == 0  # nothing is decoded before the arguments are found right
    with pytest.raises(KeyError):
        empty[files[0]]
