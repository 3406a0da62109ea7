"""The drop-in for torch loops: the same pixels as the plans' reference, the authors' call, without its faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from cellmix_dali import SoftCrossEntropy, get_online_augmentation, patch_scheduler, ratio_scheduler
from cellmix_dali.errors import ArgumentError, MissingDependencyError
from cellmix_dali.mixing import METHODS, BlendPlan, BoxPlan, MixPlan, PatchPlan, make_mixer, saliency_peaks
from cellmix_dali.mixing.on_tensors import _blend_at_once, _labels_on_device
from cellmix_dali.mixing.online_augmentation import OnlineAugmentation, _peaks, apply_plan

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
OTHERS = ("Cutout", "CutMix", "Mixup", "SaliencyMix", "ResizeMix", "FMix")
EXACT = [name for name in METHODS if name != "Mixup"]
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda images: images.contiguous(),
    "channels last": lambda images: images.contiguous(memory_format=torch.channels_last),
    "strided": lambda images: images.repeat_interleave(2, dim=3)[..., ::2],
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads do nothing for small images, but wait for each other where tests run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def same_draws_in_every_run() -> None:
    torch.manual_seed(0)


def random_images(batch: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, channels, height, width), dtype=torch.uint8, generator=generator)


def draw_plan(method: str, batch: int, tile: tuple[int, int], iteration: int = 0, **parameters: Any) -> MixPlan:
    mixer: Any = make_mixer(method, seed=3, **parameters)
    key = {"epoch": 0, "iteration": iteration}
    if METHODS[method].is_cellmix:
        return mixer.draw(batch, tile, np.gcd(*tile) // 2, 0.3, **key)
    if method == "SaliencyMix":
        peaks = np.random.default_rng(iteration).integers(0, tile, (batch, 2))
        return mixer.draw(batch, tile, peaks=peaks, **key)
    return mixer.draw(batch, tile, **key)


def reference(plan: MixPlan, images: Tensor) -> Tensor:
    """Applies the plan by NumPy."""
    return torch.from_numpy(np.ascontiguousarray(plan.apply(images.permute(0, 2, 3, 1).numpy()))).permute(0, 3, 1, 2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", METHODS)
def test_pixels_are_the_references(method: str, layout: str, device: str) -> None:
    images = random_images(8, 3, 24, 36)
    given_images = LAYOUTS[layout](images).to(device)
    for iteration in range(5):
        plan = draw_plan(method, 8, (24, 36), iteration)
        mixed = apply_plan(plan, given_images)
        assert (mixed.dtype, mixed.shape, mixed.device) == (torch.uint8, images.shape, given_images.device)
        if layout != "strided":
            assert mixed.stride() == given_images.stride()
        expected = reference(plan, images)
        difference = (mixed.cpu().int() - expected.int()).abs()
        assert difference.max() <= (1 if method == "Mixup" else 0)
        assert difference.count_nonzero() < 0.01 * difference.numel()  # blends are rounded, not cut off
        assert (expected != images).any() or method in ("CutMix", "SaliencyMix", "FMix")  # their boxes may be empty
    assert torch.equal(given_images.cpu(), images)


@given(
    st.sampled_from(sorted(METHODS)),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 2**31),
)
def test_of_any_shape(method: str, groups: int, channels: int, rows: int, columns: int, iteration: int) -> None:
    tile = (2 * rows, 2 * columns)
    parameters = {"fill": 7} if method == "Cutout" else {}
    plan = draw_plan(method, 4 * groups, tile, iteration, **parameters)
    images = random_images(4 * groups, channels, *tile)
    difference = (apply_plan(plan, images).int() - reference(plan, images).int()).abs().max()
    assert difference <= (1 if method == "Mixup" else 0)


def test_resizing_linearly_is_within_one_level() -> None:
    images = random_images(6, 3, 40, 56)
    for iteration in range(8):
        plan = draw_plan("ResizeMix", 6, (40, 56), iteration, interpolation="linear")
        mixed, expected = apply_plan(plan, images), reference(plan, images)
        assert (mixed.int() - expected.int()).abs().max() <= 1
        smooth = apply_plan(plan, images.double())
        assert (smooth - reference(plan, images.double())).abs().max() < 1e-9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_float_dtypes(method: str, dtype: torch.dtype) -> None:
    """Whole numbers up to 255 are exact in all of them."""
    images = random_images(8, 3, 16, 24)
    plan = draw_plan(method, 8, (16, 24))
    mixed = apply_plan(plan, images.to(dtype))
    assert mixed.dtype == dtype
    if method in EXACT:
        assert torch.equal(mixed, apply_plan(plan, images).to(dtype))
    else:
        expected = reference(plan, images.double())
        assert (mixed.double() - expected).abs().max() <= 256 * torch.finfo(dtype).eps


def test_masks_one_a_sample() -> None:
    images = random_images(3, 2, 5, 7)
    masks = np.random.default_rng(0).integers(0, 2, (3, 5, 7), dtype=np.uint8)
    plan = BlendPlan.masked([2, 0, 1], masks)
    assert torch.equal(apply_plan(plan, images), reference(plan, images))


@pytest.mark.parametrize("method", ["Mixup", "FMix"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_blending_at_once_gives_the_same(method: str, dtype: torch.dtype) -> None:
    """The way of other devices than the CPU."""
    images = random_images(6, 3, 8, 12).to(dtype)
    plan = draw_plan(method, 6, (8, 12))
    assert isinstance(plan, BlendPlan)
    masks = None if plan.mask is None else torch.from_numpy(plan.mask.astype(bool)).view(-1, 1, 8, 12)
    mixed = torch.empty_like(images)
    _blend_at_once(plan, masks, images, mixed)
    torch.testing.assert_close(mixed, apply_plan(plan, images))


@pytest.mark.parametrize("method", METHODS)
def test_no_gradient_and_nothing_shared(method: str) -> None:
    images = random_images(4, 3, 16, 16).float().requires_grad_()
    before = images.detach().clone()
    mixed = apply_plan(draw_plan(method, 4, (16, 16)), images)
    assert not mixed.requires_grad
    mixed.zero_()
    assert torch.equal(images.detach(), before)
    augmentation = get_online_augmentation(method, p=1.0)
    results = augmentation(images, torch.tensor([0, 1, 0, 1]), **cellmix_parameters(method, 8))
    assert not any(result.requires_grad for result in results)


def test_a_plan_that_is_not_triggered_costs_nothing() -> None:
    images = random_images(4, 3, 16, 16)
    for plan in (PatchPlan.identity(4), BoxPlan.identity(4, (16, 16)), BlendPlan.identity(4)):
        assert apply_plan(plan, images).data_ptr() == images.data_ptr()
        assert not apply_plan(plan, images.float().requires_grad_()).requires_grad


def cellmix_parameters(method: str, patch: int, ratio: float = 0.5) -> dict[str, Any]:
    return {"fix_position_ratio": ratio, "puzzle_patch_size": patch} if METHODS[method].is_cellmix else {}


def mix(augmentation: OnlineAugmentation, images: Tensor, labels: Tensor, **options: Any) -> tuple[Tensor, ...]:
    return augmentation(images, labels, **cellmix_parameters(augmentation.method, 8), **options)


NAMES = {
    **{name: name for name in METHODS},
    # The authors' README writes some otherwise than their code; case, "-" and "_" make no difference.
    "CutOut": "Cutout",
    "MixUp": "Mixup",
    "cellmix_group4": "CellMix-Group4",
    "CELLMIX-SELF": "CellMix-Self",
    "fmix": "FMix",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_name_in_every_spelling(name: str) -> None:
    """The three results as the authors' code gives them, whatever the batch size that was announced."""
    augmentation = get_online_augmentation(name, p=1.0, class_num=3, batch_size=4, edge_size=224, device="cpu")
    assert augmentation.method == NAMES[name]
    images, labels = random_images(8, 3, 32, 48).float() / 255, torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    mixed, soft, hard = mix(augmentation, images, labels)
    assert (mixed.shape, mixed.dtype) == (images.shape, images.dtype)
    assert (soft.shape, soft.dtype, hard.shape, hard.dtype) == ((8, 3), torch.float32, (8,), torch.int64)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(8))
    assert torch.equal(hard, soft.argmax(dim=1))
    assert not torch.equal(mixed, images)


def test_no_augmentation() -> None:
    """The authors' training script hands on None, and asks whether it got None."""
    assert get_online_augmentation(None) is None


def test_labels_follow_the_pixels() -> None:
    """Each image is of one colour, its label: a soft label is the share of pixels of each colour."""
    labels = torch.tensor([0, 1, 2, 3] * 2)
    images = labels.to(torch.uint8).view(8, 1, 1, 1).expand(8, 3, 32, 32)
    for method in METHODS:
        if method in ("Mixup", "Cutout"):
            continue
        augmentation = get_online_augmentation(method, p=1.0, class_num=4)
        mixed, soft, _ = mix(augmentation, images, labels)
        shares = torch.stack([(mixed == colour).float().mean(dim=(1, 2, 3)) for colour in range(4)], dim=1)
        torch.testing.assert_close(soft, shares, msg=method)
    mixed, soft, _ = get_online_augmentation("Mixup", p=1.0, class_num=4)(images.float(), labels)
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), soft @ torch.arange(4.0))
    _, soft, hard = get_online_augmentation("CutOut", p=1.0, class_num=4)(images, labels)
    assert torch.equal(soft, torch.eye(4)[labels])
    assert torch.equal(hard, labels)


def test_soft_labels_in() -> None:
    labels = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    labels /= labels.sum(dim=1, keepdim=True)
    augmentation = get_online_augmentation("CellMix-Self", p=1.0, class_num=3)
    _, soft, hard = augmentation(random_images(4, 3, 32, 32), labels, 0.5, 8)
    torch.testing.assert_close(soft, labels)  # CellMix-Self mixes no labels
    assert torch.equal(hard, labels.argmax(dim=1))


def test_labels_without_the_host() -> None:
    """The way of labels on CUDA."""
    plan = draw_plan("CellMix", 6, (8, 8))
    labels = torch.tensor([0, 3, 1, 2, 3, 0])
    expected = torch.from_numpy(plan.soft_labels(labels.numpy(), 4))
    torch.testing.assert_close(_labels_on_device(plan, labels, 4), expected, atol=1e-7, rtol=0)
    one_hot = torch.eye(4, dtype=torch.float64)[labels]
    torch.testing.assert_close(_labels_on_device(plan, one_hot, 4), expected, atol=1e-7, rtol=0)
    assert _labels_on_device(plan, torch.tensor([0, 4, 1, 2, 3, 0]), 4).isnan().all()
    with pytest.raises(ArgumentError, match="do not fit a batch of 6 with 4 classes"):
        _labels_on_device(plan, labels[:5], 4)


@pytest.mark.parametrize("method", METHODS)
def test_act_false_leaves_all_as_it_is(method: str) -> None:
    generator = torch.Generator().manual_seed(5)
    augmentation = get_online_augmentation(method, p=1.0, class_num=3, generator=generator)
    state = generator.get_state()
    images, labels = random_images(5, 3, 16, 16), torch.tensor([2, 1, 0, 1, 2])
    mixed, soft, hard = mix(augmentation, images, labels, act=False)
    assert torch.equal(mixed, images)
    assert torch.equal(soft, torch.eye(3)[labels])
    assert torch.equal(hard, labels)
    assert torch.equal(generator.get_state(), state)  # a validation phase does not change what training draws


@pytest.mark.parametrize(("method", "group"), [("CellMix-Group", 2), ("CellMix-Group4", 4), ("CellMix-Random4", 4)])
@pytest.mark.parametrize("batch", [1, 3, 5, 7, 11])
def test_a_short_last_group_stays_as_it_is(method: str, group: int, batch: int) -> None:
    images, labels = random_images(batch, 3, 32, 32), torch.arange(batch)
    augmentation = get_online_augmentation(method, p=1.0, class_num=batch)
    mixed, soft, hard = augmentation(images, labels, 0.0, 4)
    whole = batch - batch % group
    assert torch.equal(mixed[whole:], images[whole:])
    assert torch.equal(soft[whole:], torch.eye(batch)[whole:])
    assert torch.equal(hard[whole:], labels[whole:])
    assert all(not torch.equal(mixed[sample], images[sample]) for sample in range(whole))
    if group < batch and "Group" in method:  # pixels of a group come from the group
        for first in range(0, whole, group):
            pixels, source = mixed[first : first + group], images[first : first + group]
            assert torch.equal(pixels.sort(dim=0).values, source.sort(dim=0).values)


@pytest.mark.parametrize("method", METHODS)
def test_a_generator_makes_it_reproducible(method: str) -> None:
    images, labels = random_images(8, 3, 32, 32), torch.arange(8) % 3

    def run(seed: int | None) -> list[Tensor]:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        augmentation = get_online_augmentation(method, p=0.8, class_num=3, generator=generator)
        return [mix(augmentation, images, labels)[0] for _ in range(6)]

    first, again, other = run(1), run(1), run(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not all(torch.equal(first[0], later) for later in first[1:])
    torch.manual_seed(9)  # without a generator, torch's default one rules
    one = run(None)
    torch.manual_seed(9)
    assert all(torch.equal(a, b) for a, b in zip(one, run(None), strict=True))


@pytest.mark.parametrize("method", ["CellMix-Group", *OTHERS])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_the_rate_is_exactly_p(method: str, p: float) -> None:
    """Of batches, or of samples (Cutout). The authors' code mixes 1 batch in 101 at p = 0, and FMix always."""
    images, labels = torch.ones(2, 3, 8, 8), torch.tensor([0, 1])
    augmentation = get_online_augmentation(method, p=p, generator=torch.Generator().manual_seed(4))
    rounds, hits = (400 if p == 0.3 else 100), 0.0
    for _ in range(rounds):
        mixed, _, _ = augmentation(images, labels, **cellmix_parameters(method, 4))
        if method == "Cutout":
            hits += (mixed == 0).any(dim=3).any(dim=2).any(dim=1).float().mean().item()
        else:
            hits += mixed.data_ptr() != images.data_ptr()
    rate = hits / rounds
    if p in (0.0, 1.0):
        assert rate == p
    assert abs(rate - p) < 4 * np.sqrt(0.25 / rounds)


def test_the_same_plans_as_for_dali() -> None:
    """The key of a call is the generator's draw: the mixer gives its plan."""
    images, labels = random_images(8, 3, 32, 32), torch.arange(8) % 2
    augmentation = get_online_augmentation("CellMix-Group", p=1.0, generator=torch.Generator().manual_seed(7))
    mixed, soft, _ = augmentation(images, labels, 0.25, 8)
    key = int(torch.randint(2**63 - 1, (), generator=torch.Generator().manual_seed(7)))
    plan = make_mixer("CellMix-Group").draw(8, (32, 32), 8, 0.25, epoch=0, iteration=key)  # type: ignore[attr-defined]
    assert torch.equal(mixed, reference(plan, images))
    np.testing.assert_array_equal(soft, plan.soft_labels(labels.numpy(), 2))


@pytest.mark.parametrize("method", ["CutMix", "Mixup", "Cutout", "ResizeMix", "FMix", "SaliencyMix"])
def test_the_same_plans_as_for_dali_of_every_method(method: str) -> None:
    """Of epoch 0 and rank 0, whatever is said of the method; height and width in this order."""
    images, labels = random_images(4, 3, 16, 40), torch.arange(4)
    given = {"Cutout": {"side": 6}, "ResizeMix": {"low": 0.3}}.get(method, {"alpha": 0.7})
    augmentation = get_online_augmentation(
        method, p=1.0, class_num=4, generator=torch.Generator().manual_seed(7), **given
    )
    mixer: Any = augmentation.mixer
    for name, value in given.items():
        assert getattr(mixer, name) == value
    assert (mixer.seed, mixer.rank, mixer.p) == (0, 0, 1.0)
    mixed, soft, _ = augmentation(images, labels)
    key = int(torch.randint(2**63 - 1, (), generator=torch.Generator().manual_seed(7)))
    if method == "SaliencyMix":
        peaks = saliency_peaks(images.permute(0, 2, 3, 1).numpy())
        plan = mixer.draw(4, (16, 40), epoch=0, iteration=key, peaks=peaks)
        np.testing.assert_array_equal(soft.sum(dim=1), np.ones(4))
        assert mixer.draw_cut(4, (16, 40), epoch=0, iteration=key).source.tolist() == plan.source.tolist()
    else:
        plan = mixer.draw(4, (16, 40), epoch=0, iteration=key)
        np.testing.assert_array_equal(soft, plan.soft_labels(labels.numpy(), 4))
        torch.testing.assert_close(mixed, reference(plan, images), atol=1, rtol=0)


@pytest.mark.parametrize("method", ["CellMix", "CellMix-Split", "CellMix-Group", "CellMix-All", "Mixup", "Cutout"])
def test_the_probability_is_the_mixers(method: str) -> None:
    augmentation = get_online_augmentation(method, p=0.3)
    assert augmentation is not None
    assert augmentation.mixer.p == 0.3


def test_the_authors_parameters() -> None:
    """By their names, made or called."""
    images, labels = random_images(8, 3, 32, 32), torch.arange(8)
    eight = get_online_augmentation("CellMix", p=1.0, class_num=8, group_shuffle_size=2)
    _, soft, _ = eight(images, labels, 0.0, 4)
    assert soft.view(4, 2, 4, 2).abs().sum(dim=(1, 3)).count_nonzero() == 4  # pairs alone exchange
    assert get_online_augmentation("SaliencyMix", beta=3.0).mixer.alpha == 3.0  # type: ignore[attr-defined]
    assert get_online_augmentation("FMix", decay_power=2.0).mixer.decay == 2.0  # type: ignore[attr-defined]
    for name in ("CutMix", "Mixup"):
        assert get_online_augmentation(name).mixer.alpha == 2.0  # type: ignore[attr-defined]

    resize = get_online_augmentation("ResizeMix", p=1.0, class_num=8)
    for call in (lambda: resize(images, labels, 0.25, 0.5), lambda: resize(images, labels, alpha=0.25, beta=0.5)):
        for _ in range(10):
            largest = call()[1].max(dim=1).values
            assert ((largest == 1) | ((largest >= 0.75) & (largest <= 1 - 0.25**2))).all()  # 1: its own partner
            assert (largest < 1).any()
    never = get_online_augmentation("ResizeMix", p=0.0, class_num=8)
    assert torch.equal(never(images, labels, 0.25, 0.5)[0], images)
    fmix = get_online_augmentation("FMix", p=1.0, class_num=8)
    shares = [fmix(images, labels, alpha=500.0)[1].max().item() for _ in range(20)]
    assert all(abs(share - 0.5) < 0.15 or share == 1.0 for share in shares)


def test_cutout_fills_with_zero_or_as_told() -> None:
    images, labels = torch.rand(4, 3, 16, 16) + 5, torch.zeros(4, dtype=torch.int64)
    mixed = get_online_augmentation("Cutout", p=1.0)(images, labels)[0]
    assert ((mixed == 0) | (mixed == images)).all()
    assert (mixed == 0).any(dim=3).any(dim=2).all()
    mixed = get_online_augmentation("Cutout", p=1.0, side=4, fill=(1, 2, 3))(images, labels)[0]
    assert ((mixed == torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)) | (mixed == images)).all()


@pytest.mark.parametrize("kind", ["uint8", "0 to 255", "0 to 1", "normalised", "float16"])
def test_salient_spots_are_found_whatever_the_pixels_range(kind: str) -> None:
    """The authors' code takes float pixels for 8-bit ones, and finds none."""
    spots = [(40, 70), (80, 20), (20, 100)]
    images = random_images(3, 3, 96, 128) // 16 + 100
    for sample, (y, x) in enumerate(spots):
        images[sample, :, y - 5 : y + 5, x - 5 : x + 5] = 250
    eight_bit = saliency_peaks(images.permute(0, 2, 3, 1).numpy())
    as_given = {
        "uint8": images,
        "0 to 255": images.float(),
        "0 to 1": images.float() / 255,
        "normalised": (images.float() / 255 - 0.7) / 0.2,
        "float16": (images.float() / 255).half(),
    }[kind]
    peaks = _peaks(as_given)
    assert np.abs(peaks - spots).max() <= 8
    assert np.abs(peaks - eight_bit).max() <= 4
    augmentation = get_online_augmentation("SaliencyMix", p=1.0, class_num=3, alpha=1e6)  # boxes of a quarter's area
    mixed, soft, _ = augmentation(as_given, torch.arange(3))
    for sample in range(3):
        changed = (mixed[sample] != as_given[sample]).any(dim=0).nonzero()
        if len(changed):
            partner = int((soft[sample] * (torch.arange(3) != sample)).argmax())
            spot = torch.tensor(spots[partner])
            assert (changed.min(dim=0).values <= spot).all()
            assert (changed.max(dim=0).values >= spot).all()


def test_results_are_on_the_device() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(MissingDependencyError, match="PyTorch finds no CUDA here"):
            get_online_augmentation("CellMix", device="cuda")
        return
    images, labels = random_images(8, 3, 32, 32), torch.arange(8) % 2
    for method in METHODS:
        generator = torch.Generator().manual_seed(1)
        there = get_online_augmentation(method, p=1.0, device="cuda", generator=generator)
        results = mix(there, images.cuda(), labels.cuda())
        assert all(result.is_cuda for result in results)
        here = get_online_augmentation(method, p=1.0, generator=torch.Generator().manual_seed(1))
        expected = mix(here, images, labels)
        assert (results[0].cpu().int() - expected[0].int()).abs().max() <= (1 if method == "Mixup" else 0)
        torch.testing.assert_close(results[1].cpu(), expected[1])


@pytest.mark.parametrize("strategy", ["loop", "linear", "loss_hold", "loss_back"])
def test_the_loop_of_the_authors_readme(strategy: str) -> None:
    """Steps 1 to 5 of their README, as written there."""
    torch.manual_seed(0)
    epochs, labels = 4, torch.tensor([0, 1, 1, 0])
    images = random_images(4, 3, 96, 96).float() / 255 + 2 * labels.view(4, 1, 1, 1) - 1
    augmentation = get_online_augmentation(
        augmentation_name="CellMix-Group", p=0.5, class_num=2, batch_size=4, edge_size=96, device="cpu"
    )
    patch = patch_scheduler(
        total_epochs=epochs,
        warmup_epochs=1,
        edge_size=96,
        basic_patch=16,
        strategy=strategy,
        threshold=4.0,
        fix_patch_size=None,
        patch_size_jump=None,
    )
    ratio = ratio_scheduler(
        total_epochs=epochs,
        warmup_epochs=1,
        basic_ratio=0.5,
        strategy="decay" if strategy in ("loop", "linear") else strategy,
        threshold=4.0,
        fix_position_ratio=None,
    )
    model = torch.nn.Sequential(torch.nn.AvgPool2d(24), torch.nn.Flatten(), torch.nn.Linear(48, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    criterion, epoch_loss = SoftCrossEntropy(), 0.0
    for epoch in range(epochs):
        for _ in range(20):
            mixed, soft, hard = augmentation(images, labels, ratio(epoch, epoch_loss), patch(epoch, epoch_loss))
            outputs = model(mixed)
            loss = criterion(outputs, soft)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert torch.equal(hard, soft.argmax(dim=1))
        epoch_loss = loss.item() / len(images)
    assert torch.equal(model(images).argmax(dim=1), labels)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: get_online_augmentation("CellMixGrup"), r"Unknown method 'CellMixGrup'\. Did you mean 'CellMix-Gr"),
        (lambda: get_online_augmentation("PuzzleMix"), r"Unknown method 'PuzzleMix'.*Allowed: CellMix, "),
        (lambda: get_online_augmentation("CellMix", p=1.2), r"p=1\.2 cannot be used: .* 0 or more and at most 1"),
        (lambda: get_online_augmentation("CellMix", class_num=0), r"class_num=0 cannot be used"),
        (lambda: get_online_augmentation("CellMix", device="gpu"), r"device='gpu' cannot be used: give 'cpu', 'cuda'"),
        (lambda: get_online_augmentation("CellMix", alpha=1), r"Unknown parameter of CellMix 'alpha'"),
        (lambda: get_online_augmentation("CellMix", group_shuffle_size=0), r"group_shuffle_size=0 cannot be used"),
        (lambda: get_online_augmentation("FMix", max_soft=0.1), r"Unknown parameter of FMix 'max_soft'.*alpha, decay"),
        (lambda: cellmix(random_images(4, 3, 32, 32), 1.5, 8), r"fix_position_ratio=1\.5 cannot be used"),
        (lambda: cellmix(random_images(4, 3, 32, 32), 0.5, 7), r"patch_size=7 does not divide tiles of 32 x 32"),
        (lambda: cellmix(random_images(4, 3, 32, 32), 0.5, 0), r"puzzle_patch_size=0 cannot be used"),
        (lambda: cellmix(random_images(4, 3, 32, 32)[0], 0.5, 8), r"must be a tensor \(batch, channels, heig"),
        (lambda: cellmix(random_images(4, 3, 32, 32)[:0], 0.5, 8), r"with pixels in it, got shape \(0, 3, 32, 32\)"),
        (lambda: cellmix(random_images(4, 3, 32, 32).numpy(), 0.5, 8), r"got ndarray"),
        (lambda: cellmix(random_images(4, 3, 32, 32).int(), 0.5, 8), r"images of torch\.int32 cannot be mixed"),
        (lambda: cellmix(random_images(5, 3, 32, 32), 0.5, 8), r"Labels of shape \(4,\) do not fit a batch of 5"),
        (lambda: cellmix(random_images(4, 3, 32, 32), 0.5, 8, classes=1), r"Label 1 of sample 1 is out of range"),
        (lambda: apply_plan(PatchPlan.identity(3), random_images(4, 3, 8, 8)), r"4 images does not fit a plan for 3"),
        (lambda: apply_plan(draw_plan("CellMix", 4, (8, 8)), random_images(4, 3, 9, 8)), r"grid of 2 x 2 patches"),
        (lambda: apply_plan(draw_plan("Cutout", 4, (8, 8)), random_images(4, 3, 8, 9)), r"samples of 8 x 8 pixels"),
        (lambda: apply_plan(draw_plan("Cutout", 4, (8, 8)), random_images(4, 2, 8, 8)), r"fill of 3 values .* 2 chann"),
        (lambda: apply_plan(draw_plan("FMix", 4, (8, 8)), random_images(4, 3, 9, 8)), r"samples of 8 x 8 pixels"),
        (lambda: apply_plan(draw_plan("Mixup", 4, (8, 8)), random_images(3, 3, 8, 8)), r"not fit a plan for 4 samp"),
        (
            lambda: get_online_augmentation("SaliencyMix", p=1.0)(random_images(2, 4, 8, 8), torch.tensor([0, 1])),
            r"1 or 3 channels",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        call()


def cellmix(images: Any, ratio: float, patch: int, classes: int = 2) -> Any:
    augmentation = get_online_augmentation("CellMix-Group", p=1.0, class_num=classes)
    return augmentation(images, torch.tensor([0, 1, 0, 1]), ratio, patch)


@pytest.mark.parametrize("name", ["CellMix-Group", "CutMix", "Mixup", "Cutout"])
@pytest.mark.parametrize(
    "wrong",
    [[0.5, 0.25], [0.75, 0.5], [2.0, -1.0], [float("nan"), 1.0], [float("inf"), 0.0]],
    ids=["below", "above", "negative", "nan", "inf"],
)
@pytest.mark.parametrize("act", [True, False])
def test_soft_labels_that_are_no_shares_are_refused(name: str, wrong: list[float], act: bool) -> None:
    augmentation = get_online_augmentation(name, p=1.0, class_num=2, batch_size=4, edge_size=32)
    labels = torch.eye(2)[torch.tensor([0, 1, 1, 0])]
    labels[2] = torch.tensor(wrong)
    images = torch.rand(4, 3, 32, 32)
    steering = (0.5, 16) if name.startswith("CellMix") else ()
    with pytest.raises(ArgumentError, match="soft label of sample 2 is"):
        augmentation(images, labels, *steering, act=act)


def test_labels_of_a_device_that_the_host_does_not_read() -> None:
    """They become NaN, and with them the loss: loud, though late."""
    plan = make_mixer("CutMix").draw(4, 32, epoch=0, iteration=0)
    good = torch.eye(2, dtype=torch.float64)[torch.tensor([0, 1, 1, 0])]
    assert torch.equal(_labels_on_device(plan, good, 2), torch.from_numpy(plan.soft_labels(good.numpy(), 2)))
    for wrong in ([0.5, 0.25], [0.75, 0.5], [2.0, -1.0], [float("nan"), 1.0]):
        bad = good.clone()
        bad[2] = torch.tensor(wrong, dtype=torch.float64)
        assert _labels_on_device(plan, bad, 2).isnan().all()


@pytest.mark.parametrize("name", [None, "none", "None"])
def test_no_augmentation_by_any_name(name: str | None) -> None:
    assert get_online_augmentation(name) is None


@pytest.mark.parametrize(("name", "batch", "left"), [("CellMix-Group", 7, 1), ("CellMix-Group4", 6, 2), ("CellMix-Group4", 7, 3)])  # fmt: skip  # noqa: E501
def test_a_short_last_group_stays_in_pixels_and_in_labels(name: str, batch: int, left: int) -> None:
    """What is not mixed in one is not mixed in the other; the groups before it are mixed in both."""
    augmentation = get_online_augmentation(
        name, p=1.0, class_num=batch, batch_size=batch, edge_size=32, generator=torch.Generator().manual_seed(3)
    )
    images = torch.arange(batch, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
    for _ in range(5):
        mixed, soft, hard = augmentation(images, torch.arange(batch), 0.25, 16)
        assert torch.equal(mixed[-left:], images[-left:])
        assert torch.equal(soft[-left:], torch.eye(batch)[-left:])
        assert hard[-left:].tolist() == list(range(batch - left, batch))
        assert not torch.equal(mixed[:-left], images[:-left])
        for sample in range(batch):  # labels are the shares of the pixels
            shown = mixed[sample, 0].flatten().long()
            torch.testing.assert_close(soft[sample], torch.bincount(shown, minlength=batch) / shown.numel())
