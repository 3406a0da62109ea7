"""What `mix` gives beside images and labels: the map of tokens, masks, targets and the mixing matrix, as plans say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import METHODS, CellMix, SaliencyMix, make_mixer, mixed_target, saliency_peaks, source_map
from cellmix_dali.plugins import PlanSource, cellmix, mix

BATCH, CLASSES, TILE, TOKEN = 6, 4, (48, 80), 8
LABELS = np.array([[0], [1], [2], [3], [0], [2]], np.int32)
CASES: list[tuple[str, dict[str, Any]]] = [
    ("CellMix-Group", {}),
    ("CellMix-All", {}),
    ("Cutout", {"side": 19, "fill": (1, 2, 3)}),
    ("CutMix", {}),
    ("SaliencyMix", {}),
    ("ResizeMix", {"interpolation": "linear", "low": 0.5}),
    ("FMix", {}),
]
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (BATCH, *TILE, 3), np.uint8)
MASKS = RANDOM.integers(0, 5, (BATCH, *TILE, 1), np.uint8)
GENES = RANDOM.random((BATCH, 5)).astype(np.float32)
AGE = RANDOM.normal(50, 20, (BATCH, 1)).astype(np.float32)
RISK = np.array([[3.5, 1], [2, 0], [0, 1], [7, 1], [5, 0], [1, 1]], np.float32)


def node(values: NDArray[Any]) -> Any:
    dtype = {"uint8": types.UINT8, "int32": types.INT32, "float32": types.FLOAT}[values.dtype.name]
    return fn.external_source(
        lambda: values, batch=True, dtype=dtype, ndim=values.ndim - 1, layout="HWC" if values.ndim == 4 else None
    )


def run(define: Callable[[], Any], rounds: int = 1) -> list[list[NDArray[Any]]]:
    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None, seed=1)
    def pipeline() -> tuple[Any, ...]:
        return tuple(define())

    built = pipeline()
    built.build()
    return [[np.array(output.as_array()) for output in built.run()] for _ in range(rounds)]


def steering(method: str) -> dict[str, Any]:
    return {"patch_size": 16, "fix_ratio": 0.3} if METHODS[method].is_cellmix else {}


def drawn(mixer: Any, iteration: int) -> Any:
    key = {"epoch": 0, "iteration": iteration}
    if isinstance(mixer, CellMix):
        return mixer.draw(BATCH, TILE, 16, 0.3, **key)
    peaks = {"peaks": saliency_peaks(IMAGES)} if isinstance(mixer, SaliencyMix) else {}
    return mixer.draw(BATCH, TILE, **key, **peaks)


@pytest.mark.parametrize("given", ["PlanSource", "drawn"])
@pytest.mark.parametrize("engine", ["native", "numba"])
@pytest.mark.parametrize(("method", "parameters"), CASES, ids=str)
def test_everything_beside_the_images_is_the_plans(
    engine: str, method: str, parameters: dict[str, Any], given: str
) -> None:
    mixer = make_mixer(method, p=0.7, seed=5, **parameters)

    def define() -> Any:
        how: dict[str, Any] = {"method": method, "p": 0.7, "seed": 5, "rank": 0} | parameters | steering(method)
        if given == "PlanSource":
            how = {"plan": PlanSource(mixer, tile_size=TILE, batch_size=BATCH, source_map=TOKEN, **steering(method))}
        _, _, tokens, masks, (genes, age, risk), weights = mix(
            node(IMAGES),
            node(LABELS),
            num_classes=CLASSES,
            engine=engine,
            source_map=TOKEN,
            masks=node(MASKS),
            targets=[("multi_label", node(GENES)), ("regression", node(AGE)), ("survival", node(RISK))],
            weights=True,
            **how,
        )
        return tokens, masks, genes, age, risk, weights

    mixed = 0
    for iteration, (tokens, masks, genes, age, risk, weights) in enumerate(run(define, 4)):
        plan = drawn(mixer, iteration)
        np.testing.assert_array_equal(masks, plan.for_masks().apply(MASKS))
        if method not in ("Cutout", "ResizeMix"):
            np.testing.assert_array_equal(masks, plan.apply(MASKS))
        np.testing.assert_array_equal(tokens, source_map(plan, TILE, TOKEN))
        assert tokens.dtype == np.int32
        np.testing.assert_array_equal(weights, plan.weights)
        np.testing.assert_allclose(genes, mixed_target("multi_label", GENES, plan.weights), atol=1e-6)
        np.testing.assert_allclose(age, mixed_target("regression", AGE, plan.weights), rtol=1e-5)
        np.testing.assert_array_equal(risk, RISK)
        mixed += plan.triggered
    assert mixed


def test_patches_of_cellmix_and_what_comes_in_which_order() -> None:
    mixer = make_mixer("CellMix-Group", seed=5)
    source = PlanSource(mixer, tile_size=TILE, batch_size=BATCH, patch_size=16, fix_ratio=0.3, source_map=True)

    def define() -> Any:
        _, _, applied, tokens, weights = cellmix(
            node(IMAGES), node(LABELS), num_classes=4, plan=source, parameters=True, source_map=True, weights=True
        )
        return applied.patch_size, tokens, weights

    ((side, tokens, weights),) = run(define)
    assert (side == 16).all()
    np.testing.assert_array_equal(tokens, drawn(mixer, 0).source_sample)
    np.testing.assert_array_equal(weights, drawn(mixer, 0).weights)


def test_without_a_method_they_stay() -> None:
    ((masks, genes, age),) = run(
        lambda: (lambda _i, _l, masks, targets: (masks, *targets))(
            *mix(
                node(IMAGES),
                node(LABELS),
                num_classes=4,
                method="none",
                masks=node(MASKS),
                targets=[("multi-label", node(GENES)), ("regression", node(AGE))],
            )
        )
    )
    np.testing.assert_array_equal(masks, MASKS)
    np.testing.assert_array_equal(genes, GENES)
    np.testing.assert_array_equal(age, AGE)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1, 1.1])
@pytest.mark.parametrize("method", ["none", "CutMix"])
def test_a_target_that_cannot_be_is_refused_by_the_graph(method: str, wrong: float) -> None:
    """A single one would be in the targets of the whole batch."""
    genes = GENES.copy()
    genes[3, 2] = wrong

    def define() -> Any:
        targets = [("multi_label", node(genes))]
        return mix(node(IMAGES), node(LABELS), num_classes=4, method=method, targets=targets)[2]

    with pytest.raises(RuntimeError, match="raises if a target is not a number"):
        run(define)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "Mixup", "source_map": 16}, "Mixup blends every pixel"),
        ({"method": "CutMix", "source_map": True}, "CutMix has no patches of CellMix"),
        ({"method": "none", "source_map": 16}, "no parameters are applied"),
        ({"method": "none", "weights": True}, "no parameters are applied"),
        ({"method": "CutMix", "targets": [("regresion", None)]}, "Did you mean 'regression'"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        run(lambda: mix(node(IMAGES), node(LABELS), num_classes=4, **arguments))


def test_masks_of_a_blend_are_refused() -> None:
    with pytest.raises(ArgumentError, match="a mixed pixel has no one class"):
        run(lambda: mix(node(IMAGES), node(LABELS), num_classes=4, method="Mixup", masks=node(MASKS)))


@pytest.mark.parametrize(("made", "asked"), [(False, 8), (16, 8), (True, 8), (1, True), (8, True)])
def test_a_plan_that_tells_something_else_is_refused(made: bool | int, asked: bool | int) -> None:
    source = PlanSource(
        CellMix("CellMix"), tile_size=TILE, batch_size=BATCH, patch_size=8, fix_ratio=0.5, source_map=made
    )
    with pytest.raises(ArgumentError, match="but the plan was made with"):
        run(lambda: mix(node(IMAGES), node(LABELS), num_classes=4, plan=source, source_map=asked))
    if made is False:
        with pytest.raises(ArgumentError, match="does not say where tokens come from"):
            run(lambda: mix(node(IMAGES), node(LABELS), num_classes=4, plan=source.nodes(), source_map=asked))


def test_masks_of_another_size_are_refused() -> None:
    small = np.ascontiguousarray(MASKS[:, :40])
    with pytest.raises(RuntimeError, match="plan's tile_size"):
        run(lambda: mix(node(IMAGES), node(LABELS), num_classes=4, method="CutMix", masks=node(small)))
