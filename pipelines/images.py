"""Training and evaluation on image files: read -> decode -> resize -> flips -> mixing -> normalise -> PyTorch.

The order of the files is drawn outside the graph, as that of slide tiles is, and DALI reads and decodes the files
(`fn.io.file.read`, in its own threads). `fn.readers.file` would not do: it cycles through its list of files, so that an
epoch that leaves out an incomplete last batch begins where the one before stopped, and its shuffle is not a function of
(seed, epoch) alone. Here every epoch is exact, the last batch of an evaluation is short and unpadded,
runs of different methods see the same images in the same order, and a curriculum's step takes effect at the first
batch of the next epoch. An `ImageCache` decodes every file once, instead of in every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from typing_extensions import Unpack

from cellmix_dali._ranks import ranks_of
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import Targets
from cellmix_dali.plugins.plan_source import CurriculumLike
from cellmix_dali.reading.image_masks import ImageMasks

from ._image_cache import ImageCache
from ._image_check import IMAGE_SUFFIXES, unreadable_images
from ._image_source import ImageSource
from ._training_plans import training_plans
from .graph import GraphKeywords, GraphOptions
from .loader import Loader, loader_over

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageCache",
    "ImageSource",
    "evaluate_image_loader",
    "train_image_loader",
    "unreadable_images",
]


def train_image_loader(
    files: Sequence[str | Path],
    labels: ArrayLike | None,
    *,
    num_classes: int | None = None,
    batch_size: int,
    image_size: int = 224,
    curriculum: CurriculumLike | None = None,
    patch_size: int | None = None,
    fix_ratio: float | None = None,
    method: str | None = "CellMix-Group",
    method_parameters: Mapping[str, Any] | None = None,
    p: float = 0.5,
    flips: bool = True,
    source_map: bool | int = False,
    targets: Targets | None = None,
    masks: ImageMasks | None = None,
    shuffle: bool = True,
    seed: int = 0,
    rank: int | None = None,
    world_size: int | None = None,
    cache: ImageCache | None = None,
    **options: Unpack[GraphKeywords],
) -> Loader[ImageSource]:
    """Make the loader of a training on image files.

    Every argument is a keyword with a default where there can be one, as in PyTorch's ``DataLoader``.

    Parameters
    ----------
    files : sequence of path
        JPEG, PNG, TIFF, BMP or whatever DALI decodes, of any size; grey images become RGB. Check them beforehand by
        `unreadable_images`: one that cannot be decoded stops the training. DALI maps files into memory: while a loader
        is there, a file must not be overwritten in place.
    labels : int array (files,) or None
        Class indices; None where targets alone are learned.
    num_classes : int, optional
        Number of classes; needed where there are labels.
    batch_size : int
        Images per batch; an incomplete last batch is left out, other images every epoch.
    image_size : int, default 224
        Side in pixels to which every image is resized, whole: one that is not square is stretched.
    curriculum : Curriculum, optional
        Says CellMix's patch size and fix ratio; step it with the epoch's mean loss between two passes. Instead of it
        give `patch_size` (pixels) and `fix_ratio` (0 to 1). Other methods take none of the three.
    method : str, optional
        One of `cellmix_dali.mixing.METHODS`, None or "none" for no mixing. Order and flips do not depend on it.
    method_parameters : mapping, optional
        The method's own, such as ``{"alpha": 0.2}``; by default its paper's.
    p : float, default 0.5
        Probability that a batch (of Cutout: an image) is mixed.
    flips : bool, default True
        Whether images are flipped at random, left-right and up-down.
    source_map : bool or int, default False
        See `cellmix_dali.pipelines.train_loader`.
    targets : mapping of str to TargetValues, optional
        Further targets of the files, by the names that batches have for them: see `cellmix_dali.mixing.targets`.
    masks : ImageMasks, optional
        Where class masks of the images come from, see `cellmix_dali.reading.image_masks`. They are resized, flipped and
        mixed as the images are, to the bit the same regions.
    shuffle, seed
        See `cellmix_dali.sampling.EpochOrder`; the seed is also that of flips and plans.
    rank, world_size : int, optional
        This process among those that train together. By default those of the process group or of
        the launcher (torchrun). Give both to have others.
    cache : ImageCache, optional
        Holds the files decoded: it is filled with those that it lacks before this returns. Batches are the same
        without one. Share it between the loaders of a process.
    **options
        ``device``, ``engine``, ``mean``, ``std``, ``dtype``, ``num_threads``, ``prefetch_queue_depth``, and, for
        training, ``augment``, ``decoder``: see `cellmix_dali.pipelines.GraphOptions`.

    Returns
    -------
    Loader
        Batches: ``images`` (batch, 3, image_size, image_size), ``labels`` float32 (batch, num_classes), or int64
        (batch,) of -1 where there are none, ``item`` int64 (batch,): which files; where batches are mixed, also
        ``patch_size``, ``fix_ratio``, ``triggered``, ``epoch`` and ``iteration`` (batch,), as they were applied. If
        asked for ``source_map`` int64 (batch, tokens), the targets float32 (batch, numbers), ``masks`` uint8 (batch,
        image_size, image_size); and, where a target stays with its sample, the
        mixing matrix ``weights`` float32 (batch, batch).

    Raises
    ------
    CellMixDaliError
        For every argument, missing file or label that cannot work, before the first batch.
    """
    follows_group = rank is None
    rank, world_size = ranks_of(rank, world_size)
    graph = GraphOptions(**options)
    if (num_classes is None) != (labels is None) or (labels is None and not targets):
        raise ArgumentError(
            "num_classes and labels belong together: give both, or labels=None and targets={...} that say what is "
            "learned."
        )
    plans = training_plans(
        method,
        tile_size=image_size,
        batch_size=batch_size,
        curriculum=curriculum,
        patch_size=patch_size,
        fix_ratio=fix_ratio,
        method_parameters=method_parameters,
        p=p,
        seed=seed,
        rank=rank,
        source_map=source_map,
    )
    source = ImageSource(
        files,
        labels,
        batch_size=batch_size,
        image_size=image_size,
        plans=plans,
        num_classes=num_classes,
        targets=targets,
        masks=masks,
        flips=flips,
        shuffle=shuffle,
        seed=seed,
        rank=rank,
        world_size=world_size,
        cache=cache,
    )
    return loader_over(source, graph, follows_group=follows_group)


def evaluate_image_loader(
    files: Sequence[str | Path],
    labels: ArrayLike | None,
    *,
    batch_size: int,
    image_size: int = 224,
    targets: Targets | None = None,
    masks: ImageMasks | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    cache: ImageCache | None = None,
    **options: Unpack[GraphKeywords],
) -> Loader[ImageSource]:
    """Make the loader of an evaluation on image files: every image once, in order, the last batch short.

    Parameters
    ----------
    files, labels, batch_size, image_size, targets, masks, rank, world_size
        See `train_image_loader`.
    cache : ImageCache, optional
        Holds the files decoded: it is filled with those that it lacks before this returns. Batches are the same
        without one. Share it between the loaders of a process.
    **options
        ``device``, ``engine``, ``mean``, ``std``, ``dtype``, ``num_threads``, ``prefetch_queue_depth``, and, for
        training, ``augment``, ``decoder``: see `cellmix_dali.pipelines.GraphOptions`.

    Returns
    -------
    Loader
        Batches: ``images`` (batch, 3, image_size, image_size), ``labels`` int64 (batch,), ``item`` int64 (batch,);
        if asked for the targets float32 (batch, numbers), ``masks`` uint8 (batch, image_size, image_size).

    Raises
    ------
    CellMixDaliError
        For every argument, missing file or label that cannot work, before the first batch.
    """
    if not len(files):
        raise ArgumentError("There are no image files: there is nothing to evaluate.")
    follows_group = rank is None
    rank, world_size = ranks_of(rank, world_size)
    graph = GraphOptions(**options)
    source = ImageSource(
        files,
        labels,
        batch_size=batch_size,
        image_size=image_size,
        targets=targets,
        masks=masks,
        shuffle=False,
        drop_last=False,
        rank=rank,
        world_size=world_size,
        cache=cache,
    )
    return loader_over(source, graph, follows_group=follows_group)
