"""Engine "numba" on the CPU: compiled kernels that write DALI's own buffers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType

import numpy as np

from ..colour_stages import KINDS, Colour
from ..dali import DataNode, fn, types
from ..image_shape import require_channels
from ..plan_arrays import PlanNodes
from ..view_nodes import ViewNodes
from .engine import Engine, Normalisation

__all__ = ["CompiledOnCpu"]

Array = tuple[types.DALIDataType, int]

# What kernels are given: images, the addresses of those that a plan takes pixels from, in_anchors, out_anchors, shapes.
_IMAGE, _ADDRESSES, _NUMBERS = (types.UINT8, 3), (types.INT64, 1), (types.FLOAT, 1)
_REGIONS = [_ADDRESSES, *[(types.INT32, 2)] * 3]


class CompiledOnCpu(Engine):
    """Mixes by a kernel for each kind of plan; pastes, normalises, casts and transposes in one pass."""

    name, devices = "numba", ("cpu",)
    fuses = frozenset({"paste"})
    fuses_colours = colours = views = True
    packages = ("numba", "numpy", *Engine.packages)

    def mix(
        self, images: DataNode, plan: PlanNodes, *, dtype: types.DALIDataType | None = None, name: str | None = None
    ) -> DataNode:
        """Apply a plan by the kernel of its kind; see `Engine.mix`."""
        kind, fill = plan.action.kind, plan.action.fill
        if kind == "fill":
            images = images if len(fill) == 1 else require_channels(images, len(fill))
            inputs = [plan.out_anchors, plan.shapes, types.Constant(np.array(fill, np.uint8), device="cpu")]
        elif kind in ("share", "mask"):
            inputs = [_addresses(images, plan), plan.share if kind == "share" else plan.mask]
        else:
            inputs = _regions(images, plan)
        operator = _mixing(kind, plan.action.interpolation)
        node = operator(images, *inputs, **({} if name is None else {"name": name}))
        mixed = fn.reinterpret(node, layout="HWC")  # which DALI drops
        return mixed if dtype is None else fn.cast(mixed, dtype=dtype)

    def colour(self, images: DataNode, colour: Colour) -> DataNode:
        """Run all stages in one pass, sample by sample in DALI's threads; see `Engine.colour`."""
        node = _colouring()(images, _kinds(colour), fn.reshape(colour.numbers, shape=[-1]))
        return fn.reinterpret(node, layout="HWC")

    def blur(self, images: DataNode, sigma: DataNode, image_weight: DataNode) -> DataNode:
        """Blur down and along in one pass, sample by sample in DALI's threads; see `Engine.blur`."""
        return fn.reinterpret(_blurring()(images, fn.stack(sigma, image_weight)), layout="HWC")

    def view(self, images: DataNode, view: ViewNodes, how: Normalisation) -> DataNode:
        """Make a view in one pass, sample by sample in DALI's threads; see `Engine.view`."""
        half = how.dtype == "float16"
        colours = [colour for colour in (view.before, view.after) if colour is not None]
        first = 0 if view.before is None else len(view.before.kinds)
        head = np.append(how.constants(), np.array([half, view.cubic, first], np.float32))
        kinds = [fn.cast(_kinds(colour), dtype=types.FLOAT) for colour in colours]
        numbers = [fn.reshape(colour.numbers, shape=[-1]) for colour in colours]
        settings = fn.cat(types.Constant(head, device="cpu"), view.geometry, *kinds, *numbers)
        side = types.Constant(np.zeros(view.size, np.uint8), device="cpu")  # as long as the view is wide
        node = _viewing(half=half)(images, settings, side)
        return fn.reinterpret(node, layout="CHW", **({"dtype": types.FLOAT16} if half else {}))

    def normalise(
        self, images: DataNode, plan: PlanNodes | None, how: Normalisation, colour: Colour | None = None
    ) -> DataNode:
        """Run the pass sample by sample in DALI's threads; see `Engine.normalise`."""
        half = how.dtype == "float16"
        settings = types.Constant(np.append(how.constants(), np.float32(half)), device="cpu")
        regions = [] if plan is None else _regions(images, plan)
        if colour is not None:
            kinds = fn.cast(_kinds(colour), dtype=types.FLOAT)
            settings = fn.cat(settings, kinds, fn.reshape(colour.numbers, shape=[-1]))
            if plan is not None:
                regions[0] = fn.cat(regions[0], _addresses(settings, plan, _NUMBERS))
        operator = _normalising(mixing=plan is not None, half=half, coloured=colour is not None)
        node = operator(images, settings, *regions)
        return fn.reinterpret(node, layout="CHW", **({"dtype": types.FLOAT16} if half else {}))


def _addresses(images: DataNode, plan: PlanNodes, kind: Array = _IMAGE) -> DataNode:
    """Where the images that the plan takes pixels from lie; of another kind, other data of the same samples."""
    from .image_addresses import image_addresses

    return image_addresses(images, plan.in_ids, kind)


def _kinds(colour: Colour) -> DataNode:
    """The kinds of stages, as the kernel takes them."""
    return types.Constant(np.array([KINDS.index(kind) for kind in colour.kinds], np.int32), device="cpu")


def _regions(images: DataNode, plan: PlanNodes) -> list[DataNode]:
    """The plan's regions, as kernels take them."""
    return [_addresses(images, plan), plan.in_anchors, plan.out_anchors, plan.shapes]


@functools.cache
def _mixing(kind: str, interpolation: str) -> Callable[..., DataNode]:
    """A kernel as an operator, for all pipelines of the process."""
    from . import cpu_kernel as kernel
    from .raw_numba import raw_operator

    run, inputs = {
        "paste": (kernel.paste, _REGIONS),
        "fill": (kernel.fill, [*_REGIONS[2:], (types.UINT8, 1)]),
        "resize": (kernel.linear if interpolation == "linear" else kernel.nearest, _REGIONS),
        "share": (kernel.share, [_ADDRESSES, (types.FLOAT, 1)]),
        "mask": (kernel.mask, [_ADDRESSES, (types.UINT8, 2)]),
    }[kind]
    return raw_operator(run, kernel.same_shape, inputs=[_IMAGE, *inputs], output=_IMAGE, batch=False)


@functools.cache
def _normalising(*, mixing: bool, half: bool, coloured: bool) -> Callable[..., DataNode]:
    """The pass as an operator, for all pipelines of the process."""
    from .raw_numba import raw_operator

    kernel: ModuleType
    if coloured:
        from . import cpu_coloured as kernel
    else:
        from . import cpu_normalise as kernel
    inputs = [_IMAGE, _NUMBERS, *(_REGIONS if mixing else [])]
    output = (types.UINT16 if half else types.FLOAT, 3)
    return raw_operator(kernel.run, kernel.planes, inputs=inputs, output=output, batch=False)


@functools.cache
def _colouring() -> Callable[..., DataNode]:
    """The change of colour as an operator, for all pipelines of the process."""
    from . import cpu_colour as kernel
    from .raw_numba import raw_operator

    inputs = [_IMAGE, (types.INT32, 1), _NUMBERS]
    return raw_operator(kernel.run, kernel.same_shape, inputs=inputs, output=_IMAGE, batch=False)


@functools.cache
def _viewing(*, half: bool) -> Callable[..., DataNode]:
    """A view as an operator, for all pipelines of the process."""
    from . import cpu_views as kernel
    from .raw_numba import raw_operator

    output = (types.UINT16 if half else types.FLOAT, 3)
    inputs = [_IMAGE, _NUMBERS, (types.UINT8, 1)]
    return raw_operator(kernel.run, kernel.squares, inputs=inputs, output=output, batch=False)


@functools.cache
def _blurring() -> Callable[..., DataNode]:
    """The blur as an operator, for all pipelines of the process."""
    from . import cpu_blur as kernel
    from .raw_numba import raw_operator

    return raw_operator(kernel.run, kernel.same_shape, inputs=[_IMAGE, _NUMBERS], output=_IMAGE, batch=False)
