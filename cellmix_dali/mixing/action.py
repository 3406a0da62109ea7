"""What the plans of a mixer do to pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import ArgumentError
from .blend_plan import BLENDED
from .plan import IGNORED

__all__ = ["Action"]


@dataclass(frozen=True)
class Action:
    """What a mixer's plans do to pixels: known when the graph is defined, the same for all batches.

    Attributes
    ----------
    kind : {"paste", "fill", "resize", "share", "mask", "saliency"}
        What the arrays mean, see `cellmix_dali.plugins.plan_arrays.PlanArrays`.
    fill : tuple of int
        Of "fill": the constant, for all channels or one per channel.
    interpolation : {"nearest", "linear"}
        Of "resize".
    """

    kind: str = "paste"
    fill: tuple[int, ...] = (0,)
    interpolation: str = "nearest"

    def for_masks(self) -> Action:
        """Return what the plans do to class masks; see `cellmix_dali.mixing.MixPlan.for_masks`.

        Raises
        ------
        ArgumentError
            If they blend pixels.
        """
        if self.kind == "share":
            raise ArgumentError(BLENDED)
        return replace(self, fill=(IGNORED,), interpolation="nearest")

    def fields(self, *, weights: bool = True) -> tuple[str, ...]:
        """Names of the arrays that the graph needs; the weights only if labels are mixed there."""
        last = ("weights", "parameters") if weights and self.kind != "saliency" else ("parameters",)
        return _FIELDS[self.kind] + last


_REGIONS = ("in_ids", "in_anchors", "out_anchors", "shapes")
_FIELDS = {
    "paste": _REGIONS,
    "fill": ("out_anchors", "shapes"),
    "resize": _REGIONS,
    "share": ("in_ids", "share"),
    "mask": ("in_ids", "mask"),
    "saliency": ("in_ids", "shapes"),
}
