"""Engines are tried before they are used: right ones pass, wrong ones are found out, and nothing is tried twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import nvidia.dali
import pytest
from nvidia.dali import fn, math, types
from nvidia.dali.pipeline import Pipeline

from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.mixing import Action, make_mixer
from cellmix_dali.plugins import PlanSource, mix
from cellmix_dali.plugins.engines import self_check as module
from cellmix_dali.plugins.engines.cpu import CompiledOnCpu
from cellmix_dali.plugins.engines.engine import Engine
from cellmix_dali.plugins.engines.native import Native
from cellmix_dali.plugins.engines.registry import engine_for
from cellmix_dali.plugins.engines.self_check import self_check, tried
from cellmix_dali.plugins.normalise import normalise

LINEAR = Action("resize", interpolation="linear")
ACTIONS = [*map(Action, ("paste", "fill", "resize", "share", "mask")), LINEAR]
ENGINES = [Native(), CompiledOnCpu()]


class Copies(CompiledOnCpu):
    """An engine that mixes nothing, and makes all it normalises a thousandth larger."""

    def mix(self, images: Any, plan: Any, **options: Any) -> Any:  # noqa: ARG002
        return fn.copy(images)

    def normalise(self, images: Any, plan: Any, how: Any) -> Any:
        right = super().normalise(images, plan, how)
        return fn.cast_like(fn.cast(right, dtype=types.FLOAT) * 1.001, right)


class LevelOff(Native):
    """An engine whose pixels are a few levels too low."""

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def mix(self, images: Any, plan: Any, **options: Any) -> Any:
        mixed = super().mix(images, plan, **options)
        return fn.cast(math.clamp(fn.cast(mixed, dtype=types.INT32) - self.levels, 0, 255), dtype=types.UINT8)


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """What was tried in other tests counts for nothing here, nor what is tried here there."""
    self_check.cache_clear()
    yield
    self_check.cache_clear()


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: f"{action.kind} {action.interpolation}")
def test_engines_that_are_right_mix_as_the_reference(engine: Engine, action: Action) -> None:
    self_check(engine, action, None)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_engines_that_are_right_normalise_as_plain_arithmetic(engine: Engine, dtype: str) -> None:
    for action in (None, *map(Action, sorted(engine.fuses))):
        self_check(engine, action, dtype)


@pytest.mark.filterwarnings("ignore:The external source node")  # the stand-in leaves the plan unused
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: f"{action.kind} {action.interpolation}")
def test_an_engine_that_mixes_wrongly_is_found_out(action: Action) -> None:
    words = (
        rf"'numba' applied a plan of kind '{action.kind}' wrongly on the CPU .* engine='native'.* "
        rf"numba {numba.__version__}, numpy {np.__version__}, nvidia\.dali {nvidia.dali.__version__}"
    )
    with pytest.raises(CellMixDaliError, match=words):
        self_check(Copies(), action, None)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: f"{action.kind} {action.interpolation}")
def test_one_level_is_a_fault_but_where_pixels_are_blended(action: Action) -> None:
    with pytest.raises(CellMixDaliError, match="in its self-check"):
        self_check(LevelOff(3), action, None)
    if action.kind == "share" or action == LINEAR:
        return
    with pytest.raises(CellMixDaliError, match="in its self-check"):
        self_check(LevelOff(1), action, None)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("action", "what"), [(None, "normalised images"), (Action("paste"), "a plan of kind 'paste'")])
def test_an_engine_that_normalises_wrongly_is_found_out(action: Action | None, what: str, dtype: str) -> None:
    with pytest.raises(CellMixDaliError, match=f"{what} wrongly on the CPU in its self-check"):
        self_check(Copies(), action, dtype)


def test_numbers_that_are_none_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_result", lambda *_: np.full((4, 3, 1, 1), np.nan, np.float32))
    with pytest.raises(CellMixDaliError, match="normalised images wrongly"):
        self_check(CompiledOnCpu(), None, "float32")


def graph(engine: str, method: str | None, **options: Any) -> None:
    """Define one pipeline that normalises, mixing before that where a method is given."""
    images = np.zeros((4, 16, 16, 3), np.uint8)
    pipeline = Pipeline(batch_size=4, num_threads=1, device_id=None)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        plan = None if method is None else PlanSource(make_mixer(method), tile_size=16, batch_size=4).nodes()
        normalise(node, plan=plan, engine=engine, **options)


def test_each_way_is_tried_once_per_process_and_dalis_own_operators_never(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str | None, str | None]] = []
    real = module._result

    def counted(engine: Engine, images: Any, source: PlanSource | None, how: Any, device_id: Any) -> Any:
        ran.append((engine.name, None if source is None else source.action.kind, None if how is None else how.dtype))
        return real(engine, images, source, how, device_id)

    monkeypatch.setattr(module, "_result", counted)
    for _ in range(2):
        graph("native", "CutMix")
        graph("numba", None)
        graph("numba", None, dtype="float16")
        graph("numba", "CutMix")
        graph("numba", "Cutout")  # no kernel does both: one mixes, then the other normalises
    ways = [(None, "float32"), (None, "float16"), ("paste", "float32"), ("fill", None)]
    assert ran == [("numba", *way) for way in ways for _ in module._SIZES]


def test_another_constant_is_not_another_way() -> None:
    pipeline = Pipeline(batch_size=4, num_threads=1, device_id=None)
    with pipeline:
        images = fn.external_source(lambda: np.zeros((4, 8, 8, 3), np.uint8), batch=True)
        for fill in ((0,), (1, 2, 3)):
            tried(engine_for("numba", "cpu"), images, Action("fill", fill))
    assert self_check.cache_info().misses == 1


@pytest.mark.filterwarnings("ignore:The external source node")
def test_operators_try_their_engine_before_they_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CompiledOnCpu, "mix", Copies.mix)
    pipeline = Pipeline(batch_size=4, num_threads=1, device_id=None)
    with pipeline:
        images = fn.external_source(lambda: np.zeros((4, 16, 16, 3), np.uint8), batch=True, layout="HWC")
        labels = types.Constant(np.array([1], np.int32), device="cpu")
        with pytest.raises(CellMixDaliError, match="'paste' wrongly"):
            mix(images, labels, method="CutMix", num_classes=3, engine="numba")
    with pytest.raises(CellMixDaliError, match="'mask' wrongly"):
        graph("numba", "FMix")
