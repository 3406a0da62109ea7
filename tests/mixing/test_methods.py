"""What is true of every method, and the registry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bounds import assert_mean

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import (
    CELLMIX_VARIANTS,
    METHODS,
    CellMix,
    MixPlan,
    SaliencyMix,
    canonical_method,
    make_mixer,
    saliency_peaks,
)

NAMES = ["CellMix-Group", "CellMix-All", "Cutout", "CutMix", "Mixup", "SaliencyMix", "ResizeMix", "FMix"]
BATCH, TILE = 6, (24, 40)
IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH, *TILE, 3), dtype=np.uint8)
PEAKS = saliency_peaks(IMAGES)


def draw(method: str, iteration: int = 0, *, epoch: int = 0, batch: int = BATCH, **arguments: Any) -> MixPlan:
    mixer = make_mixer(method, **arguments)
    key = {"epoch": epoch, "iteration": iteration}
    if isinstance(mixer, CellMix):
        return mixer.draw(batch, TILE, 8, 0.25, **key)
    if isinstance(mixer, SaliencyMix):
        return mixer.draw(batch, TILE, peaks=PEAKS[:batch], **key)
    return mixer.draw(batch, TILE, **key)  # type: ignore[attr-defined,no-any-return]


def test_the_registry_is_whole() -> None:
    others = {"Cutout", "CutMix", "Mixup", "SaliencyMix", "ResizeMix", "FMix"}
    assert set(METHODS) == set(CELLMIX_VARIANTS) | others
    for name, method in METHODS.items():
        assert method.name == name
        assert method.is_cellmix == (name in CELLMIX_VARIANTS)
        assert method.paper.count(".") == 1
        assert method.label_weight
        assert make_mixer(name).method == name
        assert method.paper in (__import__(method.mixer.__module__, fromlist=["_"]).__doc__ or "")
    assert METHODS["Cutout"].trigger == "sample"
    assert {METHODS[name].trigger for name in METHODS if name != "Cutout"} == {"batch"}


def test_the_papers_defaults() -> None:
    assert dict(METHODS["CutMix"].parameters) == {"alpha": 1.0}
    assert dict(METHODS["Mixup"].parameters) == {"alpha": 1.0}
    assert dict(METHODS["SaliencyMix"].parameters) == {"alpha": 1.0}
    assert dict(METHODS["FMix"].parameters) == {"alpha": 1.0, "decay": 3.0}
    assert dict(METHODS["ResizeMix"].parameters) == {"low": 0.1, "high": 0.8, "interpolation": "nearest"}
    assert dict(METHODS["Cutout"].parameters) == {"side": 0.5, "fill": (124, 116, 104)}
    assert dict(METHODS["CellMix-Group"].parameters) == {}


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("cutmix", "CutMix"),
        ("Cut-Mix", "CutMix"),
        ("CutOut", "Cutout"),
        ("MixUp", "Mixup"),
        ("mix_up", "Mixup"),
        ("fmix", "FMix"),
        ("Saliency-Mix", "SaliencyMix"),
        ("RESIZEMIX", "ResizeMix"),
        ("cellmix_group4", "CellMix-Group4"),
    ],
)
def test_names_in_any_spelling(spelling: str, name: str) -> None:
    assert canonical_method(spelling) == name
    assert make_mixer(spelling).method == name


@pytest.mark.parametrize("method", NAMES)
def test_p_zero_is_the_identity_to_the_bit(method: str) -> None:
    for number in range(50):
        plan = draw(method, number, p=0.0)
        assert not plan.triggered
        np.testing.assert_array_equal(plan.weights, np.eye(BATCH))
        odd = IMAGES.astype(np.float32)
        odd[0, 0, 0] = (np.nan, -0.0, np.inf)
        assert plan.apply(odd).tobytes() == odd.tobytes()
        np.testing.assert_array_equal(plan.apply(IMAGES), IMAGES)


@pytest.mark.parametrize("method", NAMES)
@pytest.mark.parametrize("p", [0.25, 0.9])
def test_trigger_rate_is_exact(method: str, p: float) -> None:
    plans = [draw(method, number, p=p, seed=7) for number in range(3000)]
    if method == "Cutout":
        boxes = np.array([plan.boxes[:, 2] for plan in plans])  # type: ignore[attr-defined]
        # Each sample for itself: the six are independent, so that all of a batch together come with p**6.
        assert_mean((boxes > 0).ravel(), p)
        assert_mean((boxes > 0).all(axis=1), p**BATCH)
    else:
        assert_mean([plan.triggered for plan in plans], p)
    assert all(draw(method, number, p=1.0).triggered for number in range(200))


@pytest.mark.parametrize("method", NAMES)
def test_what_is_always_true(method: str) -> None:
    for number in range(200):
        plan = draw(method, number, seed=3)
        assert plan.batch_size == BATCH
        assert plan.weights.dtype == np.float32
        assert plan.weights.min() >= 0
        np.testing.assert_allclose(plan.weights.sum(axis=1), 1, atol=1e-6)
        before = IMAGES.copy()
        mixed = plan.apply(IMAGES)
        np.testing.assert_array_equal(IMAGES, before)
        assert mixed is not IMAGES
        assert (mixed.shape, mixed.dtype) == (IMAGES.shape, IMAGES.dtype)
        labels = np.arange(BATCH) % 3
        np.testing.assert_allclose(plan.soft_labels(labels, 3), plan.weights @ np.eye(3)[labels], atol=1e-6)


@pytest.mark.parametrize("method", [name for name in NAMES if name != "Mixup"])
def test_label_weights_are_the_shares_of_pixels(method: str) -> None:
    """Every tile has a number of its own: what share of the output has it, is its weight."""
    tiles = np.broadcast_to(np.arange(BATCH)[:, None, None, None], (BATCH, *TILE, 1)).astype(np.uint8)
    for number in range(100):
        plan = draw(method, number, seed=9, **({"fill": 99} if method == "Cutout" else {}))
        mixed = plan.apply(tiles).reshape(BATCH, -1)
        shares = np.stack([(mixed == sample).mean(axis=1) for sample in range(BATCH)], axis=1)
        if method == "Cutout":
            # What is blanked does not count: the label stays.
            np.testing.assert_array_equal(plan.weights, np.eye(BATCH))
            assert (shares == np.diag(np.diag(shares))).all()
        else:
            np.testing.assert_allclose(plan.weights, shares, atol=1e-6)


@pytest.mark.parametrize("method", NAMES)
def test_a_plan_is_a_function_of_its_key(method: str) -> None:
    # Noise, which shows every pixel's way.
    def pixels(epoch: int = 2, iteration: int = 5, **key: int) -> bytes:
        return draw(method, iteration, epoch=epoch, **({"seed": 4, "rank": 0} | key)).apply(IMAGES).tobytes()

    others = [pixels(seed=5), pixels(rank=1), pixels(epoch=3), pixels(iteration=6)]
    assert pixels() == pixels()
    assert len({pixels(), *others}) == 5


def test_recorded_plans_stay_the_same() -> None:
    """What a key draws must not change from release to release: training that resumes counts on it."""
    key = {"epoch": 2, "batch": 4, "seed": 1}
    boxes = {name: draw(name, 3, **key) for name in ("Cutout", "CutMix", "ResizeMix")}
    assert boxes["Cutout"].boxes.tolist() == [  # type: ignore[attr-defined]
        [0, 28, 8, 12],
        [10, 0, 12, 12],
        [6, 24, 12, 12],
        [14, 20, 10, 12],
    ]
    assert boxes["CutMix"].boxes[0].tolist() == [10, 8, 14, 32]  # type: ignore[attr-defined]
    assert boxes["CutMix"].source.tolist() == [0, 2, 1, 3]  # type: ignore[attr-defined]
    assert boxes["ResizeMix"].boxes[0].tolist() == [15, 18, 9, 15]  # type: ignore[attr-defined]
    assert boxes["ResizeMix"].source.tolist() == [0, 2, 3, 1]  # type: ignore[attr-defined]
    cut = SaliencyMix(seed=1).draw_cut(4, TILE, epoch=2, iteration=4)
    assert (cut.size, cut.source.tolist()) == ((17, 28), [0, 2, 3, 1])
    mixup: Any = draw("Mixup", 4, **key)
    assert (mixup.partner.tolist(), float(mixup.share[0])) == ([0, 2, 3, 1], pytest.approx(0.495757))
    fmix: Any = draw("FMix", 4, **key)
    assert (fmix.partner.tolist(), int(fmix.mask.sum())) == ([0, 2, 3, 1], 475)


@pytest.mark.parametrize("method", NAMES)
def test_a_batch_of_one(method: str) -> None:
    if method == "CellMix-Group":
        with pytest.raises(ArgumentError, match="does not divide batch_size=1"):
            draw(method, batch=1)
        return
    plan = draw(method, batch=1, seed=1)
    np.testing.assert_allclose(plan.weights, [[1.0]])
    assert plan.apply(IMAGES[:1]).shape == (1, *TILE, 3)


@pytest.mark.parametrize("method", [name for name in NAMES if not name.startswith("CellMix")])
def test_images_that_do_not_fit_are_refused(method: str) -> None:
    plan = draw(method)
    with pytest.raises(ArgumentError, match="do not fit a plan for 6 samples"):
        plan.apply(IMAGES[:4])
    if method != "Mixup":
        with pytest.raises(ArgumentError, match="24 x 40 pixels"):
            plan.apply(IMAGES[:, :20])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_mixer("CutMx"), r"Unknown method 'CutMx'\. Did you mean 'CutMix'\?"),
        (lambda: make_mixer("CutMix", aplha=1), r"parameter of CutMix 'aplha'\. Did you mean 'alpha'\?"),
        (lambda: make_mixer("CellMix", alpha=1), r"parameter of CellMix 'alpha'\. Allowed: none"),
        (lambda: make_mixer("CutMix", alpha=0), r"alpha=0 cannot be used: it must be a number above 0"),
        (lambda: make_mixer("Mixup", alpha=float("nan")), r"alpha=nan cannot be used"),
        (lambda: make_mixer("Mixup", p=-0.1), r"p=-0\.1 cannot be used"),
        (lambda: make_mixer("FMix", decay=-1), r"decay=-1 cannot be used"),
        (lambda: make_mixer("FMix", seed=2**64), r"seed=\d+ cannot be used"),
        (lambda: make_mixer("Cutout", side=0), r"side=0 cannot be used"),
        (lambda: make_mixer("Cutout", side=1.5), r"side=1\.5 cannot be used: .* at most 1"),
        (lambda: make_mixer("Cutout", fill=256), r"fill=256 cannot be used: .* from 0 to 255"),
        (lambda: make_mixer("Cutout", fill=()), r"fill=\(\) cannot be used"),
        (lambda: make_mixer("Cutout", fill=(1, 2)).draw(2, 8, epoch=0, iteration=0).apply(IMAGES[:2, :8, :8]),  # type: ignore[attr-defined]
         r"A fill of 2 values does not fit images of 3 channels"),
        (lambda: make_mixer("ResizeMix", low=0.5, high=0.4), r"low=0\.5 is above high=0\.4"),
        (lambda: make_mixer("ResizeMix", high=1.1), r"high=1\.1 cannot be used"),
        (lambda: make_mixer("ResizeMix", interpolation="cubic"), r"Unknown interpolation 'cubic'"),
        (lambda: draw("CutMix", batch=0), r"batch_size=0 cannot be used"),
        (lambda: draw("SaliencyMix", batch=0), r"batch_size=0 cannot be used"),
        (lambda: SaliencyMix().draw(2, 8, epoch=0, iteration=0), r"needs peaks=saliency_peaks\(images\)"),
        (lambda: SaliencyMix().draw(2, 8, epoch=0, iteration=0, peaks=[[0, 8], [1, 1]]), r"within tiles of 8 x 8"),
        (lambda: SaliencyMix().draw(2, 8, epoch=0, iteration=0, peaks=[[0, 1]]), r"shape \(2, 2\)"),
    ],
)  # fmt: skip
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        call()
