"""The call of the authors' package for loops in plain PyTorch: images and labels in, mixed ones out.

It takes the place of `CellMix.online_augmentations` (PyPI `CellMix`, arXiv 2301.11513): names, arguments and the three
results are the same; plans are drawn by `cellmix_dali.mixing`, as for DALI. docs/drop-in.md says what differs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from .._arguments import integer, number
from ..errors import ArgumentError, MissingDependencyError
from . import (
    METHODS,
    CellMix,
    CellMixVariant,
    Mixer,
    MixPlan,
    PatchPlan,
    SaliencyMix,
    TileMixer,
    canonical_method,
    make_mixer,
    mixes,
)
from .on_tensors import apply_plan, check_images, mix_labels, resize_linearly
from .saliency import SALIENCY_SIDE, scaled_peaks

__all__ = ["OnlineAugmentation", "apply_plan", "get_online_augmentation"]

_KEYS = 2**63 - 1

# Where the authors' values are not the papers', the authors' are kept. Cutout: images are normalised here as a rule.
_DEFAULTS: dict[str, dict[str, Any]] = {"CutMix": {"alpha": 2.0}, "Mixup": {"alpha": 2.0}, "Cutout": {"fill": 0}}
# The authors' names of parameters.
_RENAMED = {
    "SaliencyMix": {"beta": "alpha"},
    "FMix": {"decay_power": "decay"},
    "ResizeMix": {"alpha": "low", "beta": "high"},
}


@overload
def get_online_augmentation(
    augmentation_name: None,
    p: float = 0.5,
    class_num: int = 2,
    batch_size: int = 4,
    edge_size: int = 224,
    device: str | torch.device = "cpu",
    *,
    generator: torch.Generator | None = None,
    **parameters: Any,
) -> None: ...


@overload
def get_online_augmentation(
    augmentation_name: str,
    p: float = 0.5,
    class_num: int = 2,
    batch_size: int = 4,
    edge_size: int = 224,
    device: str | torch.device = "cpu",
    *,
    generator: torch.Generator | None = None,
    **parameters: Any,
) -> OnlineAugmentation: ...


def get_online_augmentation(
    augmentation_name: str | None,
    p: float = 0.5,
    class_num: int = 2,
    batch_size: int = 4,
    edge_size: int = 224,
    device: str | torch.device = "cpu",
    *,
    generator: torch.Generator | None = None,
    **parameters: Any,
) -> OnlineAugmentation | None:
    """Make an online augmentation by its name.

    Parameters
    ----------
    augmentation_name : str or None
        One of `cellmix_dali.mixing.METHODS`, among them those entered by `register_method`, in any spelling ("CutOut",
        "MixUp", "cellmix_group"). None stands for no augmentation, as in the authors' training script: the result is
        None.
    p : float, default 0.5
        Probability of mixing, exactly: of a batch, or of a sample (Cutout).
    class_num : int, default 2
        Number of classes.
    batch_size, edge_size : int
        Taken as the authors' are, and not needed: batches of any size and tiles of any shape are mixed.
    device : str or torch.device, default "cpu"
        Where the results are. Images and labels from elsewhere are moved there.
    generator : torch.Generator, optional
        Rules all draws; without it, PyTorch's default one on the CPU, hence `torch.manual_seed`.
    **parameters
        The method's own, see ``METHODS[name].parameters``, or by the authors' names: ``group_shuffle_size`` (of
        "CellMix"), ``beta`` (SaliencyMix), ``decay_power`` (FMix). CutMix and Mixup have the authors' ``alpha=2`` (the
        papers: 1). Cutout's ``fill`` is in the values of the images, 0 by default: in normalised ones the mean colour.

    Returns
    -------
    OnlineAugmentation
        Called with ``(images, labels)``; CellMix with ``(images, labels, fix_position_ratio, puzzle_patch_size)``.

    Raises
    ------
    ArgumentError
        If the name or an argument cannot be used; the message says what is allowed.
    MissingDependencyError
        If the device is CUDA and there is none.

    Examples
    --------
    >>> augmentation = get_online_augmentation("CellMix-Group", p=0.5, class_num=9)
    >>> images, soft_labels, hard_labels = augmentation(images, labels, 0.5, 32)
    """
    if augmentation_name is None or not mixes(augmentation_name):
        return None
    name = canonical_method(augmentation_name)
    number("p", p, low=0, high=1)
    integer("class_num", class_num, low=1)
    integer("batch_size", batch_size, low=1)
    integer("edge_size", edge_size, low=1)
    kind = _KINDS.get(name, CellMixAugmentation if METHODS[name].is_cellmix else TileAugmentation)
    return kind(name, p, class_num, _device(device), generator, parameters)


class OnlineAugmentation(ABC):
    """Mixes batches of tensors; made by `get_online_augmentation`.

    Attributes
    ----------
    method : str
        Name in `cellmix_dali.mixing.METHODS`.
    mixer : Mixer
        Draws the plans; each call draws its key from `generator`.
    class_num : int
        Number of classes.
    device : torch.device
        Where the results are.
    generator : torch.Generator or None
        Rules the draws; None: PyTorch's default one.
    """

    def __init__(
        self,
        method: str,
        p: float,
        class_num: int,
        device: torch.device,
        generator: torch.Generator | None,
        parameters: dict[str, Any],
    ) -> None:
        self.method = method
        self.class_num = class_num
        self.device = device
        self.generator = generator
        self.mixer = self._make_mixer(p, parameters)

    @abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Mix a batch: images and labels first, then what the method takes.

        Parameters
        ----------
        images : Tensor (batch, channels, height, width), uint8 or floating
            On any device; left alone.
        labels : integer Tensor (batch,), or floating Tensor (batch, classes)
            Class indices, or labels that are soft already: shares, 0 to 1, that add up to 1.
        act : bool, default True
            False: the batch stays as it is. True: it is mixed with probability `p` (to force it, make it with ``p=1``).

        Returns
        -------
        images : Tensor of the images' shape and dtype, without gradient
            Where the batch stays as it is, it shares the memory of the given images.
        soft_labels : float32 Tensor (batch, classes)
            Shares of the classes; rows sum to 1. On CUDA, labels are not read by the host, which would have to wait for
            the GPU: a class index out of range, or shares that do not sum to 1, make the batch's soft labels NaN.
        hard_labels : int64 Tensor (batch,)
            The class of the largest share, the first of equal ones.

        Raises
        ------
        ArgumentError
            If an argument cannot be used.
        """

    def _make_mixer(self, p: float, parameters: dict[str, Any]) -> Mixer:
        renamed = _RENAMED.get(self.method, {})
        given = {renamed.get(name, name): value for name, value in parameters.items()}
        return make_mixer(self.method, p=p, **_DEFAULTS.get(self.method, {}) | given)

    def _mix(
        self, images: Tensor, labels: Tensor, act: bool, draw: Callable[[Tensor, int], MixPlan]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a plan from the images and a fresh key, and apply it."""
        check_images(images)
        with torch.no_grad():
            images = images.detach().to(self.device)
            plan = draw(images, self._key()) if act else PatchPlan.identity(len(images))
            soft = mix_labels(plan, torch.as_tensor(labels), self.class_num).to(self.device, non_blocking=True)
            return apply_plan(plan, images), soft, soft.argmax(dim=1)

    def _key(self) -> int:
        """Draw what stands for the iteration in the key of the mixer's counter-based generator."""
        device = None if self.generator is None else self.generator.device
        return int(torch.randint(_KEYS, (), generator=self.generator, device=device))


class CellMixAugmentation(OnlineAugmentation):
    """CellMix and its variants: called with the fix ratio and the patch size."""

    mixer: CellMix

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        fix_position_ratio: float = 0.5,
        puzzle_patch_size: int = 32,
        act: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mix a batch; see `OnlineAugmentation.__call__`.

        Parameters
        ----------
        images, labels, act
            See `OnlineAugmentation.__call__`. Where groups do not divide the batch, the last samples stay as they are.
        fix_position_ratio : float, default 0.5
            Share of patch positions that stay, from 0 to 1.
        puzzle_patch_size : int, default 32
            Side of a patch in pixels; it must divide the images' height and width.
        """
        ratio = number("fix_position_ratio", fix_position_ratio, low=0, high=1)
        side = integer("puzzle_patch_size", puzzle_patch_size, low=1)

        def draw(images: Tensor, key: int) -> MixPlan:
            batch, tile = len(images), _tile_size(images)
            short = 0 if self.mixer.variant.group_size == -1 else batch % self.mixer.variant.group_size
            if short == batch:
                return PatchPlan.identity(batch)
            plan = self.mixer.draw(batch - short, tile, side, ratio, epoch=0, iteration=key)
            return _extended(plan, short) if short else plan

        return self._mix(images, labels, act, draw)

    def _make_mixer(self, p: float, parameters: dict[str, Any]) -> Mixer:
        own = dict(parameters)
        size = own.pop("group_shuffle_size", None) if self.method == "CellMix" else None
        mixer = make_mixer(self.method, p=p, **own)
        if size is not None and isinstance(mixer, CellMix):
            group = size if size == -1 else integer("group_shuffle_size", size, low=1)
            mixer.variant = CellMixVariant(mixer.variant.strategy, group)
        return mixer


class TileAugmentation(OnlineAugmentation):
    """Cutout, CutMix, Mixup, SaliencyMix and every registered method."""

    def __call__(self, images: Tensor, labels: Tensor, act: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Mix a batch; see `OnlineAugmentation.__call__`."""
        return self._mix(images, labels, act, self._draw)

    def _draw(self, images: Tensor, key: int) -> MixPlan:
        return _draw(self.mixer, images, key)


class ResizeMixAugmentation(OnlineAugmentation):
    """ResizeMix: called with the bounds of the scale."""

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        alpha: float | None = None,
        beta: float | None = None,
        act: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mix a batch; see `OnlineAugmentation.__call__`.

        Parameters
        ----------
        images, labels, act
            See `OnlineAugmentation.__call__`.
        alpha, beta : float, optional
            Least and greatest scale of the pasted sample's sides; by default the mixer's (the paper's: 0.1 and 0.8).
        """
        changed = {name: value for name, value in (("low", alpha), ("high", beta)) if value is not None}
        mixer = _changed(self.mixer, changed)
        return self._mix(images, labels, act, lambda moved, key: _draw(mixer, moved, key))


class FMixAugmentation(OnlineAugmentation):
    """FMix: called with the Beta distribution's parameter."""

    def __call__(
        self, images: Tensor, labels: Tensor, alpha: float | None = None, act: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mix a batch; see `OnlineAugmentation.__call__`.

        Parameters
        ----------
        images, labels, act
            See `OnlineAugmentation.__call__`.
        alpha : float, optional
            Of the Beta distribution; by default the mixer's (the paper's: 1).
        """
        mixer = _changed(self.mixer, {} if alpha is None else {"alpha": alpha})
        return self._mix(images, labels, act, lambda moved, key: _draw(mixer, moved, key))


_KINDS: dict[str, type[OnlineAugmentation]] = {"ResizeMix": ResizeMixAugmentation, "FMix": FMixAugmentation}


def _draw(mixer: Mixer, images: Tensor, key: int) -> MixPlan:
    """Draw the plan of a method that patch size and fix ratio do not steer."""
    batch, tile = len(images), _tile_size(images)
    if isinstance(mixer, SaliencyMix):
        cut = mixer.draw_cut(batch, tile, epoch=0, iteration=key)
        return cut.plan(_peaks(images) if cut.triggered else np.zeros((batch, 2), np.int32))
    assert isinstance(mixer, TileMixer)
    return mixer.draw(batch, tile, epoch=0, iteration=key)


def _changed(mixer: Mixer, parameters: dict[str, float]) -> Mixer:
    """Make a mixer with some parameters replaced."""
    if not parameters:
        return mixer
    kept = {name: getattr(mixer, name) for name in METHODS[mixer.method].parameters}
    return make_mixer(mixer.method, p=mixer.p, **kept | parameters)


def _extended(plan: PatchPlan, more: int) -> PatchPlan:
    """Add samples that stay as they are at the end of a batch."""
    if not plan.triggered:
        return PatchPlan.identity(plan.batch_size + more, plan.grid)
    rest = PatchPlan.identity(plan.batch_size + more, plan.grid)
    return replace(
        plan,
        source_sample=np.concatenate([plan.source_sample, rest.source_sample[plan.batch_size :]]),
        source_patch=np.concatenate([plan.source_patch, rest.source_patch[plan.batch_size :]]),
        matrix=plan.matrix.extended(more),
    )


def _peaks(images: Tensor) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return each image's most salient pixel: the images' small 8-bit copies are made where the images are.

    Of float images, [0, 1] and [0, 255] are taken for what they are; any other range, such as that of normalised ones,
    is stretched image by image.
    """
    small = resize_linearly(images, (SALIENCY_SIDE, SALIENCY_SIDE)).cpu()
    if images.is_floating_point():
        low, high = float(small.min()), float(small.max())
        if low >= 0 and high <= 1:
            small = small * 255
        elif low < 0 or high > 255:
            least = small.amin(dim=(1, 2, 3), keepdim=True)
            small = (small - least) * (255 / (small.amax(dim=(1, 2, 3), keepdim=True) - least).clamp_min(1e-12))
    eight_bit = small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return scaled_peaks(eight_bit.numpy(), _tile_size(images))


def _tile_size(images: Tensor) -> tuple[int, int]:
    return int(images.shape[2]), int(images.shape[3])


def _device(device: str | torch.device) -> torch.device:
    """Return the device, or refuse what is not one."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentError(f"device={device!r} cannot be used: give 'cpu', 'cuda' or 'cuda:1'.") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise MissingDependencyError(f"device={device!r} cannot be used: PyTorch finds no CUDA here. Use device='cpu'.")
    return found
