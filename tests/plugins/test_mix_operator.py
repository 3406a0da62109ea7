"""Every method as an operator: DALI's operators, the kernels and the plans' own reference make the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import METHODS, CellMix, CutMix, Mixer, Mixup, SaliencyMix, make_mixer, saliency_peaks
from cellmix_dali.plugins import PlanSource, mix

BATCH, CLASSES = 6, 4
ENGINES = ("native", "numba")
# One of CellMix's suffices here: test_cellmix_operator.py has the others. An untriggered batch comes within few rounds.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("CellMix-Group", {}),
    ("Cutout", {}),
    ("Cutout", {"side": 9, "fill": 7}),
    ("CutMix", {}),
    ("Mixup", {}),
    ("SaliencyMix", {}),
    ("ResizeMix", {}),
    ("ResizeMix", {"interpolation": "linear", "low": 0.5}),
    ("FMix", {}),
]
SIZES = [(48, 48), (40, 72), (37, 53)]  # square, not square, odd


def images(height: int = 40, width: int = 72, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (BATCH, height, width, channels), dtype=np.uint8)


def labels() -> NDArray[np.int32]:
    return np.array([[0], [1], [2], [3], [0], [2]], np.int32)


def node(values: NDArray[Any]) -> Any:
    dtype = {"uint8": types.UINT8, "int32": types.INT32, "float32": types.FLOAT, "float64": types.FLOAT64}[
        values.dtype.name
    ]
    layout = "HWC" if values.ndim == 4 else None
    return fn.external_source(lambda: values, batch=True, dtype=dtype, ndim=values.ndim - 1, layout=layout)


def run(define: Callable[[], tuple[Any, ...]], *, rounds: int = 1, seed: int = 0) -> list[Any]:
    """Outputs of every round, as arrays."""

    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None, seed=seed)
    def pipeline() -> tuple[Any, ...]:
        return define()

    built = pipeline()
    built.build()
    return [[output.as_array() for output in built.run()] for _ in range(rounds)]


def steering(method: str, side: int) -> dict[str, Any]:
    """Patch size and fix ratio, for CellMix."""
    return {"patch_size": side, "fix_ratio": 0.3} if METHODS[method].is_cellmix else {}


def drawn(mixer: Mixer, given: NDArray[np.uint8], side: int, iteration: int) -> Any:
    """The plan that the graph must have applied."""
    key = {"epoch": 0, "iteration": iteration}
    tile = given.shape[1:3]
    if isinstance(mixer, CellMix):
        return mixer.draw(len(given), tile, side, 0.3, **key)
    if isinstance(mixer, SaliencyMix):
        return mixer.draw(len(given), tile, peaks=saliency_peaks(given), **key)
    return mixer.draw(len(given), tile, **key)


def assert_pixels(got: NDArray[Any], want: NDArray[Any], method: str, parameters: dict[str, Any]) -> None:
    if method == "Mixup" or parameters.get("interpolation") == "linear":
        assert np.abs(got.astype(int) - want.astype(int)).max() <= 1
    else:
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("method", "parameters"), CASES, ids=str)
def test_pixels_and_labels_are_the_plans(engine: str, method: str, parameters: dict[str, Any]) -> None:
    of = labels()
    for height, width in SIZES:
        side = int(np.gcd(height, width)) // 2 or 1
        given = images(height, width)
        mixer = make_mixer(method, p=0.6, seed=3, **parameters)
        source = PlanSource(mixer, tile_size=(height, width), batch_size=BATCH, **steering(method, side))
        triggered = 0
        for number, (mixed, soft, was, epoch, iteration) in enumerate(
            run(
                lambda given=given, source=source: (lambda i, s, applied: (i, s, *applied[2:]))(
                    *mix(node(given), node(of), num_classes=CLASSES, plan=source, parameters=True, engine=engine)
                ),
                rounds=8,
            )
        ):
            plan = drawn(mixer, given, side, number)
            assert_pixels(mixed, plan.apply(given), method, parameters)
            np.testing.assert_allclose(soft, plan.soft_labels(of, CLASSES), atol=1e-6)
            assert (mixed.dtype, soft.dtype) == (np.uint8, np.float32)
            assert (was == plan.triggered).all()
            assert (epoch == 0).all()
            assert (iteration == number).all()
            triggered += plan.triggered
            if not plan.triggered:
                np.testing.assert_array_equal(mixed, given)
            elif method != "Cutout":
                assert not np.array_equal(mixed, given)
        # Both kinds of batches were seen, but of Cutout, which triggers a sample at a time.
        assert triggered > 0
        assert triggered < 8 or method == "Cutout"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("method", "parameters"), CASES, ids=str)
def test_p_zero_is_the_identity(engine: str, method: str, parameters: dict[str, Any]) -> None:
    given, of = images(), labels()
    ((mixed, soft),) = run(
        lambda: mix(
            node(given),
            node(of),
            method=method,
            num_classes=CLASSES,
            p=0.0,
            engine=engine,
            **steering(method, 8),
            **parameters,
        )
    )
    np.testing.assert_array_equal(mixed, given)
    np.testing.assert_array_equal(soft, np.eye(CLASSES, dtype=np.float32)[of[:, 0]])


@pytest.mark.parametrize(("method", "parameters"), CASES, ids=str)
def test_plans_drawn_in_the_graph_are_those_of_the_seed(method: str, parameters: dict[str, Any]) -> None:
    given, of = images(), labels()
    rounds = run(
        lambda: mix(
            node(given), node(of), method=method, num_classes=CLASSES, p=0.8, **steering(method, 8), **parameters
        ),
        rounds=3,
        seed=17,
    )
    for number, (mixed, soft) in enumerate(rounds):
        plan = drawn(make_mixer(method, p=0.8, seed=17, **parameters), given, 8, number)
        assert_pixels(mixed, plan.apply(given), method, parameters)
        np.testing.assert_allclose(soft, plan.soft_labels(of, CLASSES), atol=1e-6)


@pytest.mark.parametrize(("method", "parameters"), [case for case in CASES if case[0] != "SaliencyMix"], ids=str)
def test_float_images(method: str, parameters: dict[str, Any]) -> None:
    """DALI's operators take any type: floats are not rounded."""
    given, of = images().astype(np.float32) / 255, labels()
    ((mixed, _),) = run(
        lambda: mix(node(given), node(of), method=method, num_classes=CLASSES, **steering(method, 8), **parameters)
    )
    want = drawn(make_mixer(method, **parameters), given, 8, 0).apply(given)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed, want, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["Cutout", "CutMix", "Mixup", "ResizeMix", "FMix"])
def test_any_number_of_channels_and_another_type(engine: str, method: str) -> None:
    parameters = {"fill": 9} if method == "Cutout" else {}
    for channels in (1, 4):
        given = images(channels=channels)
        ((mixed, _),) = run(
            lambda given=given: mix(
                node(given),
                node(labels()),
                method=method,
                num_classes=CLASSES,
                engine=engine,
                dtype=types.FLOAT,
                name="mixing",
                **parameters,
            )
        )
        assert mixed.dtype == np.float32
        want = drawn(make_mixer(method, **parameters), given, 8, 0).apply(given)
        np.testing.assert_allclose(mixed, want, atol=1.0 if method == "Mixup" else 0.0)


@pytest.mark.parametrize(
    ("method", "channels", "parameters"),
    [
        ("CutMix", (1, 3, 4, 3, 3, 3), {}),
        ("Mixup", (3, 3, 3, 3, 3, 1), {}),
        ("CellMix", (3, 4, 3, 3, 3, 3), {"patch_size": 8, "fix_ratio": 0.5}),
        ("Cutout", (4, 4, 4, 4, 4, 4), {"fill": (1, 2, 3)}),
        ("Cutout", (3, 3, 3, 3, 3, 3), {"fill": (7, 8)}),
    ],
)
def test_channels_that_do_not_fit_stop_the_pipeline(
    method: str, channels: tuple[int, ...], parameters: dict[str, Any]
) -> None:
    given = [np.full((16, 24, count), 9, np.uint8) for count in channels]

    def define() -> tuple[Any, ...]:
        source = fn.external_source(lambda: given, batch=True, dtype=types.UINT8, layout="HWC")
        return mix(source, node(labels()), method=method, num_classes=CLASSES, engine="numba", **parameters)

    with pytest.raises(RuntimeError, match="raises if images have other channels"):
        run(define)


def test_the_layout_is_kept() -> None:
    for engine in ENGINES:
        for method, parameters in CASES:
            # crop_mirror_normalize reads the layout: it raises without one, and mirrors another axis for a wrong one.
            ((mixed, flat),) = run(
                lambda engine=engine, method=method, parameters=parameters: (
                    lambda i, _: (i, fn.crop_mirror_normalize(i, dtype=types.FLOAT, output_layout="CHW"))
                )(
                    *mix(
                        node(images()),
                        node(labels()),
                        method=method,
                        num_classes=CLASSES,
                        engine=engine,
                        **steering(method, 8),
                        **parameters,
                    )
                )
            )
            np.testing.assert_array_equal(flat, mixed.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("method", ["CutMix", "SaliencyMix", "Mixup"])
def test_soft_labels_in(method: str) -> None:
    given = images()
    of = np.random.default_rng(1).dirichlet(np.ones(CLASSES), BATCH).astype(np.float32)
    ((_, soft),) = run(
        lambda: mix(node(given), node(of), method=method, num_classes=CLASSES, soft=True, seed=2), rounds=1
    )
    plan = drawn(make_mixer(method, seed=2), given, 8, 0)
    np.testing.assert_allclose(soft, plan.soft_labels(of, CLASSES), atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_nearest_resizing_agrees_for_all_sizes(engine: str) -> None:
    """Where source and target sizes put a centre between two pixels, single precision alone would take either."""
    height, width = 96, 60
    numbers = np.arange(height * width).reshape(height, width, 1)
    given = np.concatenate([numbers % 256, numbers // 256, numbers * 0], axis=2).astype(np.uint8)
    given = np.stack([given + np.array([0, 0, sample], np.uint8) for sample in range(BATCH)])
    mixer = make_mixer("ResizeMix", low=0.02, high=1.0, seed=4)
    source = PlanSource(mixer, tile_size=(height, width), batch_size=BATCH)
    rounds = run(lambda: mix(node(given), node(labels()), num_classes=CLASSES, plan=source, engine=engine), rounds=120)
    heights = set()
    for number, (mixed, _) in enumerate(rounds):
        plan = drawn(mixer, given, 1, number)
        np.testing.assert_array_equal(mixed, plan.apply(given))
        heights.add(int(plan.boxes[0, 2]))
    assert len(heights) > 50


@pytest.mark.parametrize("engine", ENGINES)
def test_saliencymix_pastes_what_is_salient(engine: str) -> None:
    """A bright spot on each tile: what is pasted is centred on the partner's."""
    height, width = 90, 120
    random = np.random.default_rng(5)
    spots = np.stack([random.integers(10, side - 10, BATCH) for side in (height, width)], axis=-1)
    given = random.integers(180, 200, (BATCH, height, width, 3), dtype=np.uint8)
    for sample, (y, x) in enumerate(spots):
        given[sample, y - 4 : y + 5, x - 4 : x + 5] = (90, 10, 120)
    mixer = SaliencyMix(seed=8)
    source = PlanSource(mixer, tile_size=(height, width), batch_size=BATCH)
    rounds = run(lambda: mix(node(given), node(labels()), num_classes=CLASSES, plan=source, engine=engine), rounds=6)
    for number, (mixed, soft) in enumerate(rounds):
        cut = mixer.draw_cut(BATCH, (height, width), epoch=0, iteration=number)
        if min(cut.size) < 16:
            continue
        for sample, partner in enumerate(cut.source):
            y, x = spots[partner]
            # The heart of the partner's spot is there.
            assert (mixed[sample, y - 2 : y + 3, x - 2 : x + 3] == (90, 10, 120)).all()
        plan = cut.plan(saliency_peaks(given))
        np.testing.assert_array_equal(mixed, plan.apply(given))
        np.testing.assert_allclose(soft, plan.soft_labels(labels(), CLASSES), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_peaks_in_the_graph_are_those_of_each_image(channels: int) -> None:
    """Some of each batch are certain, and NumPy settles the others: uniform ones, and two equal peaks."""
    from cellmix_dali.mixing.saliency import slow_places
    from cellmix_dali.plugins.engines.cpu_saliency import salient_places

    given = np.random.default_rng(6).integers(0, 256, (BATCH, 96, 80, channels), dtype=np.uint8)
    given[1] = 255
    given[2, 48:] = given[2, 47::-1, ::-1]  # turned by 180 degrees, it is the same
    parameters = np.tile(np.array([0, 0, 1, 0, 0, 96, 80], np.float64), (BATCH, 1))
    ((found,),) = run(lambda: (salient_places(node(given), node(parameters)),))
    slow = slow_places(given)
    np.testing.assert_array_equal(found[found[:, 2] == 1, :2], slow[found[:, 2] == 1])
    assert found[:3, 2].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(saliency_peaks(given), (2 * slow + 1) * (96, 80) // 128)
    parameters[:, 2] = 0  # not mixed: nothing is looked for
    ((found,),) = run(lambda: (salient_places(node(given), node(parameters)),))
    assert not found.any()


def test_saliency_is_of_8_bit_images() -> None:
    for given, words in (
        (images().astype(np.float32), "raises but for 8-bit images: mix before"),
        (images(channels=4), "channels"),
    ):
        with pytest.raises(RuntimeError, match=words):
            run(lambda given=given: mix(node(given), node(labels()), method="SaliencyMix", num_classes=CLASSES))


@pytest.mark.parametrize("method", ["CutMix", "Cutout", "ResizeMix", "FMix", "Mixup", "SaliencyMix"])
def test_images_of_another_size_than_the_plans_are_never_mixed_silently(method: str) -> None:
    source = PlanSource(make_mixer(method), tile_size=(40, 40), batch_size=BATCH)
    with pytest.raises(RuntimeError, match="raises if images are not of the plan's tile_size"):
        run(lambda: mix(node(images()), node(labels()), num_classes=CLASSES, plan=source))


def refused(**arguments: Any) -> Callable[[], Any]:
    own = {"num_classes": CLASSES, "method": "CutMix"} | arguments
    return lambda: mix(node(images()), node(labels()), **own)


def plan_of(mixer: Mixer, **arguments: Any) -> PlanSource:
    return PlanSource(mixer, **({"tile_size": (40, 72), "batch_size": BATCH} | arguments))


@pytest.mark.parametrize(
    ("define", "words"),
    [
        (refused(method="CutMx"), r"Unknown method 'CutMx'\. Did you mean 'CutMix'\?"),
        (refused(method=None), r"either method=\.\.\. or plan=PlanSource"),
        (refused(alhpa=1.0), r"Unknown parameter of CutMix 'alhpa'\. Did you mean 'alpha'\? Allowed: alpha"),
        (refused(alpha=-1.0), r"alpha=-1\.0 cannot be used"),
        (refused(p=1.5), r"p=1\.5 cannot be used"),
        (refused(patch_size=8), r"CutMix has no patches: .* CellMix's alone"),
        (refused(method="CellMix"), r"CellMix needs either a curriculum, or both patch_size and fix_ratio"),
        (refused(method="CellMix", patch_size=8, fix_ratio=0.5, alpha=1.0), r"Unknown parameter of CellMix 'alpha'"),
        (refused(engine="nativ"), r"Unknown engine 'nativ'\. Did you mean 'native'\?"),
        (refused(device="gpu"), r"device='gpu', but the images are on 'cpu'"),
        (refused(num_classes=1), r"num_classes=1"),
        (refused(method=None, plan=plan_of(CutMix()), alpha=1.0), r"either plan or alpha: a plan has its own"),
        (refused(method=None, plan=plan_of(CutMix()), p=0.5), r"either plan or p: a plan has its own"),
        (refused(method="FMix", plan=plan_of(CutMix())), r"The plan is of CutMix, not of FMix"),
        (refused(method=None, plan=plan_of(CutMix(), batch_size=4)), r"batch_size=4, the pipeline's is 6"),
    ],
)
def test_what_is_refused_when_the_pipeline_is_defined(define: Callable[[], Any], words: str) -> None:
    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None)
    def pipeline() -> Any:
        return define()

    with pytest.raises(ArgumentError, match=words):
        pipeline()


class Steering:
    patch_size, fix_ratio = 8, 0.5


@pytest.mark.parametrize("arguments", [{"curriculum": Steering()}, {"patch_size": 8}, {"fix_ratio": 0.5}])
def test_a_plan_source_takes_a_curriculum_for_cellmix_alone(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="Mixup has no patches: curriculum, patch_size and fix_ratio"):
        plan_of(Mixup(), **arguments)


def test_cellmix_refuses_another_methods_plan() -> None:
    from cellmix_dali.plugins import cellmix

    @pipeline_def(batch_size=BATCH, num_threads=2, device_id=None)
    def pipeline() -> Any:
        return cellmix(node(images()), node(labels()), num_classes=CLASSES, plan=plan_of(Mixup()))

    with pytest.raises(ArgumentError, match=r"given a plan of Mixup: use cellmix_dali\.plugins\.mix"):
        pipeline()


WRONG_SHARES: dict[str, list[float]] = {
    "sum below 1": [0.5, 0.25, 0.0, 0.0],
    "sum above 1": [0.5, 0.5, 0.5, 0.0],
    "logits": [2.0, -1.0, 0.0, 0.0],
    "nan": [float("nan"), 0.5, 0.25, 0.25],
    "infinite": [float("inf"), 0.0, 0.0, 0.0],
}


@pytest.mark.parametrize("method", ["CutMix", "SaliencyMix", "none"])
@pytest.mark.parametrize("wrong", WRONG_SHARES.values(), ids=WRONG_SHARES)
def test_soft_labels_that_are_no_shares_stop_the_graph(method: str, wrong: list[float]) -> None:
    """As in the tile table: silently, they would train on nonsense."""
    given, of = images(), np.eye(CLASSES, dtype=np.float32)[labels()[:, 0]]
    of[3] = wrong
    with pytest.raises(RuntimeError, match="raises if soft labels are not shares"):
        run(lambda: mix(node(given), node(of), method=method, num_classes=CLASSES, soft=True))


def test_soft_labels_may_miss_one_by_rounding() -> None:
    given, of = images(), np.full((BATCH, CLASSES), 0.25, np.float32)
    of[2] = [0.3333, 0.3333, 0.3333, 0.0]
    ((_, soft),) = run(lambda: mix(node(given), node(of), method="none", num_classes=CLASSES, soft=True))
    np.testing.assert_array_equal(soft, of)


def test_no_method_leaves_images_and_makes_labels_soft() -> None:
    given, of = images(), labels()
    for name in ("none", "None"):
        ((same, soft),) = run(lambda name=name: mix(node(given), node(of), method=name, num_classes=CLASSES))
        np.testing.assert_array_equal(same, given)
        np.testing.assert_array_equal(soft, np.eye(CLASSES, dtype=np.float32)[of[:, 0]])
    with pytest.raises(RuntimeError):
        run(lambda: mix(node(given), node(of + 1), method="none", num_classes=CLASSES))
    with pytest.raises(ArgumentError, match="no parameters are applied"):
        run(lambda: mix(node(given), node(of), method="none", num_classes=CLASSES, parameters=True))


@pytest.mark.parametrize("method", ["CutMix", "CellMix"])
def test_ranks_draw_plans_of_their_own(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given, or taken from the launcher: in either case those of the same mixer on the host."""
    given, of = images(48, 48), labels()
    pictures = []
    for rank in (0, 1, 2):
        steer = steering(method, 16)
        ((mixed, soft),) = run(
            lambda rank=rank, steer=steer: mix(
                node(given), node(of), method=method, num_classes=CLASSES, seed=5, rank=rank, **steer
            )
        )
        plan = drawn(make_mixer(method, seed=5, rank=rank), given, 16, 0)
        np.testing.assert_array_equal(mixed, plan.apply(given))
        np.testing.assert_allclose(soft, plan.soft_labels(of, CLASSES), atol=1e-6)
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        ((same, _),) = run(
            lambda steer=steer: mix(node(given), node(of), method=method, num_classes=CLASSES, seed=5, **steer)
        )
        np.testing.assert_array_equal(same, mixed)
        pictures.append(mixed)
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[1], pictures[2])
    source = PlanSource(CutMix(), tile_size=48, batch_size=BATCH)
    with pytest.raises(ArgumentError, match="either plan or rank"):
        run(lambda: mix(node(given), node(of), plan=source, num_classes=CLASSES, rank=1))


def test_a_plan_without_weights_is_refused_in_words() -> None:
    """A tile source that mixes the labels itself gives the graph a plan without them."""
    given, of = images(48, 48), labels()
    source = PlanSource(CutMix(), tile_size=48, batch_size=BATCH)

    def define() -> tuple[Any, ...]:
        return mix(node(given), node(of), plan=source.nodes()._replace(weights=None), num_classes=CLASSES)

    with pytest.raises(ArgumentError, match="The plan has no label weights"):
        run(define)


def test_pytorchs_names_of_devices() -> None:
    given, of = images(), labels()
    for device in ("cpu", torch.device("cpu")):
        run(lambda device=device: mix(node(given), node(of), method="CutMix", num_classes=CLASSES, device=device))
    with pytest.raises(ArgumentError, match="the images are on 'cpu'"):
        run(lambda: mix(node(given), node(of), method="CutMix", num_classes=CLASSES, device=torch.device("cuda", 1)))
