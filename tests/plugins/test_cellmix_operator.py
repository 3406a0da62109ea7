"""The operator: its pixels and labels are the plan's, on every way the plan can come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types
from PIL import Image

from cellmix_dali import CellMix
from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins import PlanSource, cellmix

BATCH, CLASSES = 8, 5
ENGINES = ("native", "numba")


def images(height: int = 48, width: int = 96, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (BATCH, height, width, channels), dtype=np.uint8)


def labels() -> NDArray[np.int32]:
    return np.array([[0], [1], [2], [3], [4], [0], [0], [1]], np.int32)


def node(values: NDArray[Any]) -> Any:
    dtype = {"uint8": types.UINT8, "int32": types.INT32, "float32": types.FLOAT}[values.dtype.name]
    layout = "HWC" if values.ndim == 4 else None
    return fn.external_source(lambda: values, batch=True, dtype=dtype, ndim=values.ndim - 1, layout=layout)


def run(define: Callable[[], tuple[Any, ...]], *, rounds: int = 1, batch: int = BATCH, seed: int = 0) -> list[Any]:
    """Outputs of every round, as arrays."""

    @pipeline_def(batch_size=batch, num_threads=2, device_id=None, seed=seed)
    def pipeline() -> tuple[Any, ...]:
        return define()

    built = pipeline()
    built.build()
    return [[output.as_array() for output in built.run()] for _ in range(rounds)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["CellMix-Group", "CellMix-All"])
def test_pixels_and_labels_are_the_plans(engine: str, method: str) -> None:
    mixer = CellMix(method, p=0.6, seed=3)
    source = PlanSource(mixer, tile_size=(48, 96), batch_size=BATCH, patch_size=16, fix_ratio=0.3)
    given, of = images(), labels()
    triggered = 0
    for number, (mixed, soft, patch, ratio, was, epoch, iteration) in enumerate(
        run(
            lambda: (lambda i, s, parameters: (i, s, *parameters))(
                *cellmix(node(given), node(of), num_classes=CLASSES, plan=source, parameters=True, engine=engine)
            ),
            rounds=6,
        )
    ):
        plan = mixer.draw(BATCH, (48, 96), 16, 0.3, epoch=0, iteration=number)
        np.testing.assert_array_equal(mixed, plan.apply(given))
        np.testing.assert_allclose(soft, plan.soft_labels(of, CLASSES), atol=1e-6)
        assert (patch == 16).all()
        np.testing.assert_allclose(ratio, 0.3)
        assert (was == plan.triggered).all()
        assert (epoch == 0).all()
        assert (iteration == number).all()
        triggered += plan.triggered
    assert 0 < triggered < 6  # both kinds of batches were seen


@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels(channels: int) -> None:
    given = images(channels=channels)
    source = PlanSource(CellMix(), tile_size=(48, 96), batch_size=BATCH, patch_size=8, fix_ratio=0.5)
    want = CellMix().draw(BATCH, (48, 96), 8, 0.5, epoch=0, iteration=0).apply(given)
    for engine in ENGINES:
        ((mixed, *_),) = run(
            lambda engine=engine: cellmix(node(given), node(labels()), num_classes=CLASSES, plan=source, engine=engine)
        )
        np.testing.assert_array_equal(mixed, want)


def test_patches_of_one_pixel_are_the_smallest() -> None:
    given = images()
    ((mixed, *_),) = run(lambda: cellmix(node(given), node(labels()), num_classes=CLASSES, patch_size=1, fix_ratio=0.5))
    want = CellMix().draw(BATCH, (48, 96), 1, 0.5, epoch=0, iteration=0).apply(given)
    np.testing.assert_array_equal(mixed, want)
    with pytest.raises(ArgumentError, match="patch_size=0"):
        run(lambda: cellmix(node(given), node(labels()), num_classes=CLASSES, patch_size=0, fix_ratio=0.5))


@pytest.mark.parametrize("engine", ENGINES)
def test_parameters_as_nodes_of_the_graph(engine: str) -> None:
    given, of = images(), labels()

    def define() -> tuple[Any, ...]:
        mixed, soft, applied = cellmix(
            node(given),
            node(of),
            num_classes=CLASSES,
            patch_size=fn.random.choice([8, 16, 24]),
            fix_ratio=fn.random.uniform(range=[0.0, 1.0]),
            method="CellMix-Group4",
            parameters=True,
            engine=engine,
        )
        return mixed, soft, applied.patch_size, applied.fix_ratio, applied.iteration

    sizes = set()
    for number, (mixed, soft, patch, ratio, iteration) in enumerate(run(define, rounds=8, seed=21)):
        assert len(set(patch.tolist())) == len(set(ratio.tolist())) == 1  # one value per batch
        assert (iteration == number).all()
        # The ratio is a float32 in the graph: the plan was drawn with the same.
        plan = CellMix("CellMix-Group4", seed=21).draw(
            BATCH, (48, 96), int(patch[0]), float(ratio[0]), epoch=0, iteration=number
        )
        np.testing.assert_array_equal(mixed, plan.apply(given))
        np.testing.assert_allclose(soft, plan.soft_labels(of, CLASSES), atol=1e-6)
        sizes.add(int(patch[0]))
    assert len(sizes) > 1


def test_parameters_from_the_users_own_source() -> None:
    given, of = images(), labels()
    sizes = [8, 24, 48]
    calls = iter(sizes)
    outputs = run(
        lambda: cellmix(
            node(given),
            node(of),
            num_classes=CLASSES,
            patch_size=fn.external_source(
                lambda: np.full((BATCH,), next(calls), np.int32), batch=True, dtype=types.INT32
            ),
            fix_ratio=0.25,
            seed=9,
        ),
        rounds=1,
    )
    plan = CellMix(seed=9).draw(BATCH, (48, 96), sizes[0], 0.25, epoch=0, iteration=0)
    np.testing.assert_array_equal(outputs[0][0], plan.apply(given))


def test_constants_alone_and_p_zero_is_the_identity() -> None:
    given, of = images(), labels()
    ((mixed, soft),) = run(
        lambda: cellmix(node(given), node(of), num_classes=CLASSES, patch_size=16, fix_ratio=0.0, p=0.0)
    )
    np.testing.assert_array_equal(mixed, given)
    np.testing.assert_array_equal(soft, np.eye(CLASSES, dtype=np.float32)[of[:, 0]])


def test_soft_labels_in() -> None:
    given = images()
    of = np.random.default_rng(1).dirichlet(np.ones(CLASSES), BATCH).astype(np.float32)
    ((_, soft),) = run(
        lambda: cellmix(node(given), node(of), num_classes=CLASSES, patch_size=16, fix_ratio=0.0, soft=True, seed=2)
    )
    plan = CellMix(seed=2).draw(BATCH, (48, 96), 16, 0.0, epoch=0, iteration=0)
    np.testing.assert_allclose(soft, plan.soft_labels(of, CLASSES), atol=1e-6)
    assert not np.allclose(soft, of)


def test_scalar_labels_and_another_output_type() -> None:
    given, of = images(), labels()
    for engine in ENGINES:
        ((mixed, soft),) = run(
            lambda engine=engine: cellmix(
                node(given),
                node(of[:, 0]),
                num_classes=CLASSES,
                patch_size=16,
                fix_ratio=0.5,
                dtype=types.FLOAT,
                engine=engine,
                name="mixing",
            )
        )
        plan = CellMix().draw(BATCH, (48, 96), 16, 0.5, epoch=0, iteration=0)
        assert mixed.dtype == np.float32
        np.testing.assert_array_equal(mixed, plan.apply(given))
        np.testing.assert_allclose(soft, plan.soft_labels(of, CLASSES), atol=1e-6)


def test_after_a_dali_reader(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        for number in range(BATCH // 2):
            colour = np.full((32, 32, 3), 100 * (name == "second") + 10 * number, np.uint8)
            Image.fromarray(colour).save(tmp_path / name / f"{number}.png")

    def define() -> tuple[Any, ...]:
        encoded, of = fn.readers.file(file_root=str(tmp_path), name="reader")
        decoded = fn.decoders.image(encoded, device="cpu")
        return cellmix(decoded, of, num_classes=2, patch_size=8, fix_ratio=0.25, method="CellMix-Group", seed=4)

    ((mixed, soft),) = run(define)
    colours = np.array([0, 10, 20, 30, 100, 110, 120, 130], np.uint8)
    given = np.broadcast_to(colours[:, None, None, None], (BATCH, 32, 32, 3))
    plan = CellMix("CellMix-Group", seed=4).draw(BATCH, 32, 8, 0.25, epoch=0, iteration=0)
    np.testing.assert_array_equal(mixed, plan.apply(given))
    np.testing.assert_allclose(soft, plan.soft_labels(colours // 100, 2), atol=1e-6)


def test_the_layout_is_kept() -> None:
    for engine in ENGINES:
        # crop_mirror_normalize reads the layout: it raises without one, and mirrors another axis for a wrong one.
        ((mixed, flat),) = run(
            lambda engine=engine: (
                lambda i, _: (i, fn.crop_mirror_normalize(i, dtype=types.FLOAT, output_layout="CHW"))
            )(
                *cellmix(
                    node(images()),
                    node(labels()),
                    num_classes=CLASSES,
                    patch_size=16,
                    fix_ratio=0.5,
                    engine=engine,
                )
            )
        )
        np.testing.assert_array_equal(flat, mixed.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("tile_size", [(24, 48), (96, 96), (96, 48)])
def test_images_of_another_size_than_the_plans_are_never_mixed_silently(tile_size: tuple[int, int]) -> None:
    source = PlanSource(CellMix(), tile_size=tile_size, batch_size=BATCH, patch_size=12, fix_ratio=0.5)
    with pytest.raises(RuntimeError, match="raises if images are not of the plan's tile_size"):
        run(lambda: cellmix(node(images()), node(labels()), num_classes=CLASSES, plan=source))


@pytest.mark.parametrize("wrong", [-1, CLASSES])
def test_a_label_out_of_range_never_passes(wrong: int) -> None:
    of = labels()
    of[3] = wrong
    with pytest.raises(RuntimeError, match=r"raises if a label is not in 0 \.\. num_classes - 1"):
        run(lambda: cellmix(node(images()), node(of), num_classes=CLASSES, patch_size=16, fix_ratio=0.5))


def test_what_only_a_batch_shows() -> None:
    given, of = images(), labels()
    with pytest.raises(RuntimeError, match="patch_size=13 does not divide tiles of 48 x 96 pixels"):
        run(lambda: cellmix(node(given), node(of), num_classes=CLASSES, patch_size=13, fix_ratio=0.5))
    ragged = [given[number, : 32 + 16 * (number % 2)] for number in range(BATCH)]
    with pytest.raises(RuntimeError, match="images of several sizes"):
        run(
            lambda: cellmix(
                fn.external_source(lambda: ragged, batch=True, dtype=types.UINT8, layout="HWC"),
                node(of),
                num_classes=CLASSES,
                patch_size=16,
                fix_ratio=0.5,
            )
        )
    with pytest.raises(RuntimeError, match="Batch size clash"):
        run(
            lambda: cellmix(
                fn.external_source(lambda: given[:5], batch=True, dtype=types.UINT8, layout="HWC"),
                fn.external_source(lambda: of[:5], batch=True, dtype=types.INT32, ndim=1),
                num_classes=CLASSES,
                patch_size=16,
                fix_ratio=fn.random.uniform(range=[0.2, 0.4]),
            )
        )


@pytest.mark.parametrize("with_plan", [True, False])
def test_inside_a_conditional_it_raises(with_plan: bool) -> None:
    """There an operator sees a part of the batch: numbers of samples would mean others."""
    source = PlanSource(CellMix("CellMix-Group"), tile_size=(48, 96), batch_size=BATCH, patch_size=16, fix_ratio=0.5)
    how = {"plan": source} if with_plan else {"patch_size": 16, "fix_ratio": 0.5}

    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None, enable_conditionals=True)
    def pipeline() -> Any:
        given, of = node(images()), node(labels())
        soft = fn.one_hot(of, num_classes=CLASSES)
        if fn.random.coin_flip(dtype=types.BOOL, seed=1):
            given, soft = cellmix(given, of, num_classes=CLASSES, method="CellMix-Group", **how)
        return given, soft

    built = pipeline()
    built.build()
    with pytest.raises(RuntimeError):
        built.run()


def refused(**arguments: Any) -> Callable[[], Any]:
    own = {"num_classes": CLASSES, "patch_size": 16, "fix_ratio": 0.5} | arguments
    return lambda: cellmix(node(images()), node(labels()), **own)


def plan(**arguments: Any) -> PlanSource:
    own = {"tile_size": 32, "batch_size": BATCH, "patch_size": 16, "fix_ratio": 0.5} | arguments
    return PlanSource(own.pop("mixer", CellMix()), **own)


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (refused(engine="nativ"), r"Unknown engine 'nativ'\. Did you mean 'native'\?"),
        (refused(device="gpu"), r"device='gpu', but the images are on 'cpu'"),
        (refused(device="tpu"), r"Unknown device 'tpu'"),
        (refused(method="Celmix"), r"Unknown method 'Celmix'\. Did you mean 'CellMix'\?"),
        (refused(fix_ratio=-0.1), r"fix_ratio=-0\.1 is out of range"),
        (refused(patch_size=0), r"patch_size=0"),
        (refused(patch_size=None), r"either plan=PlanSource\(\.\.\.\), or both"),
        (refused(num_classes=1), r"num_classes=1"),
        (refused(p=2), r"p=2 cannot be used"),
        (refused(plan=lambda: None), r"either plan or patch_size"),
        (
            refused(plan=plan(batch_size=4), patch_size=None, fix_ratio=None),
            r"batch_size=4, the pipeline's is 8",
        ),
    ],
)
def test_what_is_refused_when_the_pipeline_is_defined(define: Callable[[], Any], words: str) -> None:
    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None)
    def pipeline() -> Any:
        return define()

    with pytest.raises(ArgumentError, match=words):
        pipeline()


def test_a_group_that_does_not_divide_the_batch_is_refused() -> None:
    @pipeline_def(batch_size=6, num_threads=2, device_id=None)
    def pipeline() -> Any:
        return refused(method="CellMix-Group4")()

    with pytest.raises(ArgumentError, match="group_size=4 of method 'CellMix-Group4' does not divide batch_size=6"):
        pipeline()


def test_outside_a_pipeline_it_is_refused() -> None:
    with pytest.raises(ArgumentError, match="inside @pipeline_def"):
        cellmix(None, None, num_classes=2, patch_size=16, fix_ratio=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: plan(patch_size=12), r"patch_size=12 does not divide tiles of 32 x 32"),
        (lambda: plan(fix_ratio=1.01), r"fix_ratio=1\.01 is out of range"),
        (lambda: plan(patch_size=None), r"either a curriculum, or both"),
        (lambda: plan(mixer=CellMix("CellMix-Group4"), batch_size=10), r"does not divide batch_size=10"),
        (lambda: plan(epoch_size=0), r"epoch_size=0: an epoch needs at least one batch"),
        (lambda: plan(tile_size=0), r"tile_size=0 cannot be used"),
    ],
)
def test_what_a_plan_source_refuses(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        make()
