"""Which engine a name stands for on each device, what each says of itself, and how a missing one is told."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins.engines.cpu import CompiledOnCpu
from cellmix_dali.plugins.engines.cuda import CompiledOnGpu
from cellmix_dali.plugins.engines.engine import KINDS, Engine
from cellmix_dali.plugins.engines.native import Native
from cellmix_dali.plugins.engines.registry import ENGINES, check_engine, default_engine, engine_for


@pytest.mark.parametrize(
    ("name", "device", "kind"),
    [
        ("native", "cpu", Native),
        ("native", "gpu", Native),
        ("numba", "cpu", CompiledOnCpu),
        ("numba", "gpu", CompiledOnGpu),
        ("numba", "cuda:1", CompiledOnGpu),
        ("numba", torch.device("cuda"), CompiledOnGpu),
    ],
)
def test_a_name_stands_for_one_engine_on_each_device(name: str, device: Any, kind: type[Engine]) -> None:
    found = engine_for(name, device)
    assert type(found) is kind
    assert found is engine_for(name, device)
    assert found.name == name


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_every_name_can_be_had_on_both_devices_and_a_wrong_one_is_told(device: str) -> None:
    assert ENGINES == ("native", "numba")
    for name in ENGINES:
        check_engine(name, device)
        assert device in engine_for(name, device).devices
    with pytest.raises(ArgumentError, match=r"Unknown engine 'nmba'\. Did you mean 'numba'\?"):
        check_engine("nmba", device)


@pytest.mark.parametrize(
    ("device", "name"), [("cpu", "numba"), ("gpu", "native"), ("cuda", "native"), ("cuda:0", "native")]
)
def test_the_default_without_a_gpu_whatever_the_device_is_called(
    device: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_engine(device) == name


@pytest.mark.parametrize("ask", [default_engine, lambda device: check_engine("native", device)])
def test_an_unknown_device_is_refused(ask: Callable[[str], object]) -> None:
    with pytest.raises(ArgumentError, match="Unknown device 'tpu'"):
        ask("tpu")


def test_an_engine_is_given_no_plan_that_nobody_can_apply() -> None:
    """Whatever an engine does not mix, DALI's operators do."""
    for device in ("cpu", "gpu"):
        assert engine_for("native", device).mixes == KINDS
        for name in ENGINES:
            engine = engine_for(name, device)
            assert engine.mixes <= KINDS
            assert engine.fuses <= KINDS


def test_an_engine_that_mixes_nothing_alone_says_so() -> None:
    with pytest.raises(NotImplementedError, match="CompiledOnGpu applies no plan alone"):
        CompiledOnGpu().mix(None, None)  # type: ignore[arg-type]


WITHOUT_NUMBA_CUDA = """
import sys

sys.modules["numba.cuda"] = None
from cellmix_dali.errors import MissingDependencyError
from cellmix_dali.plugins.engines.registry import check_engine

for name, device in (("native", "cpu"), ("native", "gpu"), ("numba", "cpu")):
    check_engine(name, device)
try:
    check_engine("numba", "gpu")
except MissingDependencyError as error:
    print(error)
"""


@pytest.mark.slow
def test_without_numba_cuda_the_compiled_engine_on_the_gpu_is_missing_and_no_other() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMBA_CUDA], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"needs numba-cuda, which cannot be imported .* pip install .* or use engine='native'", done.stdout
    )
