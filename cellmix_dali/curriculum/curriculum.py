"""Algorithm 1 of the CellMix paper: patch size and fix ratio of every epoch, driven by plan or by loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, SupportsFloat, TypeAlias, get_args

import numpy as np

from cellmix_dali._arguments import fitting_patch_size, integer, mean_loss, number, tile_shape
from cellmix_dali.curriculum._course import plan_index, plan_ratio, ratio_bounds
from cellmix_dali.curriculum.patch_sizes import JUMPS, legal_patch_sizes, nearest_patch_size
from cellmix_dali.errors import ArgumentError, unknown_name

__all__ = ["LOSS_DRIVEN", "PATCH_STRATEGIES", "RATIO_STRATEGIES", "Curriculum", "PatchStrategy", "RatioStrategy"]

PatchStrategy: TypeAlias = Literal["linear", "reverse", "random", "loop", "loss_hold", "loss_back", "fixed"]
RatioStrategy: TypeAlias = Literal["decay", "loss_hold", "loss_back", "fixed"]
PATCH_STRATEGIES: tuple[str, ...] = get_args(PatchStrategy)
RATIO_STRATEGIES: tuple[str, ...] = get_args(RatioStrategy)
LOSS_DRIVEN = ("loss_hold", "loss_back")

_HARDER = 0.9
_EASIER = 1.1

_STATE_KEYS = ("epoch", "threshold", "ratio", "patch_index", "settings")
_PASS_A_STATE = "Pass the dict that Curriculum.state_dict() returned."

# The second word of the generator's key, so that no other draw under the user's seed shares its numbers.
_PATCH_SIZE_STREAM = 0x63757272


class Curriculum:
    """The patch size and the fix ratio to train with, epoch by epoch.

    A low fix ratio and small patches make mixed tiles harder. The loss-driven strategies start easy, at the
    largest patch and the greatest ratio, and look at the loss once per epoch: at or below the threshold, the
    next epoch is harder (ratio x 0.9, the next smaller patch) and the threshold shrinks; above it,
    "loss_hold" keeps the value and "loss_back" makes the next epoch easier (ratio x 1.1, the next larger
    patch). The ratio stays between max(0.5 b, 0.2) and min(3 b, 0.9), b the basic ratio. The other strategies
    follow the number of the epoch alone.

    Every argument is a keyword, most with a default: they are the settings of all strategies, and a run names its own.

    Parameters
    ----------
    epochs : int
        Epochs of the whole training, warm-up included, 1 or more. In epochs beyond them linear, reverse, loop
        and decay keep their last value; random and the loss-driven strategies go on.
    tile_size : int or (int, int)
        The side of a square tile, or (height, width), in pixels.
    token_size : int, default 16
        The side of the model's tokens in pixels: patch sizes are multiples of it.
    patch_strategy : str, default "loss_hold"
        "linear" (from small to large), "reverse" (from large to small), "random" (a new draw in every epoch), "loop"
        (small to large, `loop_epochs` each, over and over), "loss_hold", "loss_back", or "fixed".
    ratio_strategy : str, default "loss_hold"
        "decay" (a straight line down from the greatest ratio), "loss_hold", "loss_back", or "fixed".
    basic_ratio : float, default 0.5
        The ratio of the warm-up, from which the bounds follow; above 0, at most 1. Below 1/15 the bounds
        cross, which only the fixed ratio strategy allows.
    threshold : float, default 0.5
        The loss per sample that counts as learned, above 0. The authors' T=4.0 is a sum over a batch of 8.
    threshold_factor : float, default 0.933
        What the threshold is multiplied by after every epoch that was learned, above 0, at most 1. Both
        loss-driven strategies share one threshold, which shrinks once.
    warmup_epochs : int, default 0
        Epochs at the start, at most `epochs`, with the basic ratio and the patch size nearest to 32, in which
        the loss changes nothing. A fixed value is the same in warm-up.
    patch_size : int, optional
        With ``patch_strategy="fixed"`` alone: the patch size in pixels, any that divides both sides of the
        tile into more than one patch (the user's word counts more than the token rule). Otherwise the size
        nearest to 32.
    fix_ratio : float, optional
        With ``ratio_strategy="fixed"`` alone: the ratio, from 0 to 1. Otherwise the basic ratio.
    jump : {None, "odd", "even"}, default None
        Thin out the patch sizes, see `legal_patch_sizes`.
    loop_epochs : int, default 3
        Epochs that "loop" stays at one patch size, 1 or more.
    seed : int, default 0
        Seed of "random", from 0 to 2**64 - 1; the size of an epoch depends on seed and epoch alone.
    augment_strength : float or (float, float), optional
        How strong augmentations are, at least 0: always, or in the first and in the last epoch after the warm-up, with
        a straight line between; the first one in the warm-up, too. By default 1.

    Raises
    ------
    ArgumentError
        If an argument, or a combination, cannot be used; the message names it and says what is allowed.

    Notes
    -----
    Source: Algorithm 1 of arXiv 2301.11513. The authors' published code does something else;
    `patch_scheduler` and `ratio_scheduler` do the same as that code.

    Examples
    --------
    >>> curriculum = Curriculum(epochs=50, tile_size=384)
    >>> curriculum.patch_size, curriculum.fix_ratio
    (192, 0.9)
    >>> curriculum.step(0.4)
    >>> curriculum.patch_size, curriculum.fix_ratio
    (128, 0.81)
    """

    def __init__(
        self,
        *,
        epochs: int,
        tile_size: int | Sequence[int],
        token_size: int = 16,
        patch_strategy: str = "loss_hold",
        ratio_strategy: str = "loss_hold",
        basic_ratio: float = 0.5,
        threshold: float = 0.5,
        threshold_factor: float = 0.933,
        warmup_epochs: int = 0,
        patch_size: int | None = None,
        fix_ratio: float | None = None,
        jump: str | None = None,
        loop_epochs: int = 3,
        seed: int = 0,
        augment_strength: float | Sequence[float] | None = None,
    ) -> None:
        if patch_strategy not in PATCH_STRATEGIES:
            raise unknown_name("patch_strategy", patch_strategy, PATCH_STRATEGIES)
        if ratio_strategy not in RATIO_STRATEGIES:
            raise unknown_name("ratio_strategy", ratio_strategy, RATIO_STRATEGIES)
        if patch_size is not None and patch_strategy != "fixed":
            raise _only_with_fixed("patch_size", patch_size, "patch_strategy", patch_strategy)
        if fix_ratio is not None and ratio_strategy != "fixed":
            raise _only_with_fixed("fix_ratio", fix_ratio, "ratio_strategy", ratio_strategy)
        if jump is not None and jump not in JUMPS:
            raise unknown_name("jump", jump, JUMPS)
        self._patch_strategy = patch_strategy
        self._ratio_strategy = ratio_strategy
        self._epochs = integer("epochs", epochs, low=1)
        self._warmup_epochs = integer("warmup_epochs", warmup_epochs, low=0, high=self._epochs)
        self._tile_size = tile_shape(tile_size)
        self._basic_ratio = number("basic_ratio", basic_ratio, low=0, high=1, above_low=True)
        self._threshold = number("threshold", threshold, low=0, above_low=True)
        self._threshold_factor = number("threshold_factor", threshold_factor, low=0, high=1, above_low=True)
        self._loop_epochs = integer("loop_epochs", loop_epochs, low=1)
        self._seed = integer("seed", seed, low=0, high=2**64 - 1)
        token = integer("token_size", token_size, low=1)

        # The list is not asked for beside a size of the user's own: it may be empty then.
        if patch_size is not None:
            patch_size = fitting_patch_size("patch_size", patch_size, *self._tile_size)
            self._patch_sizes: tuple[int, ...] = (patch_size,)
        else:
            self._patch_sizes = legal_patch_sizes(self._tile_size, token, jump)
            if patch_strategy == "fixed":
                self._patch_sizes = (nearest_patch_size(self._patch_sizes),)

        if fix_ratio is not None:
            fix_ratio = number("fix_ratio", fix_ratio, low=0, high=1)
        self._fixed_ratio = self._basic_ratio if fix_ratio is None else fix_ratio
        self._bounds = ratio_bounds(self._basic_ratio)
        low, high = self._bounds
        if low > high and ratio_strategy != "fixed":
            raise ArgumentError(
                f"basic_ratio={basic_ratio!r} cannot be used with ratio_strategy={ratio_strategy!r}: the "
                f"greatest ratio, 3 x basic_ratio, would lie below the least, {low:g}. It must be 1/15 "
                "(0.0667) or more, or the ratio_strategy 'fixed'."
            )

        self._strengths = _strengths(augment_strength)
        self._settings: dict[str, Any] = {
            "epochs": self._epochs,
            "tile_size": list(self._tile_size),  # a list, as JSON has no tuples
            "token_size": token,
            "patch_strategy": patch_strategy,
            "ratio_strategy": ratio_strategy,
            "basic_ratio": self._basic_ratio,
            "threshold": self._threshold,
            "threshold_factor": self._threshold_factor,
            "warmup_epochs": self._warmup_epochs,
            "patch_size": patch_size,
            "fix_ratio": fix_ratio,
            "jump": jump,
            "loop_epochs": self._loop_epochs,
            "seed": self._seed,
        }
        if augment_strength is not None:  # states without it are those of versions before
            self._settings["augment_strength"] = list(self._strengths)
        # Where the loss drives: the easiest ratio and patch are where it starts from.
        self._epoch = 0
        self._ratio = high
        self._patch_index = len(self._patch_sizes) - 1

    @property
    def epoch(self) -> int:
        """Number of the current epoch, counted from 0: how often the curriculum was stepped."""
        return self._epoch

    @property
    def tile_size(self) -> tuple[int, int]:
        """(height, width) of the tiles in pixels."""
        return self._tile_size

    @property
    def patch_sizes(self) -> tuple[int, ...]:
        """Every patch size that this curriculum may ask for, in pixels, ascending; just one when fixed."""
        return self._patch_sizes

    @property
    def drives_augmentations(self) -> bool:
        """Whether it was said how strong augmentations are."""
        return "augment_strength" in self._settings

    @property
    def augment_strength(self) -> float:
        """How strong augmentations are in the current epoch: 0, not at all; 1, as they are described."""
        first, last = self._strengths
        steps = max(self._epochs - self._warmup_epochs - 1, 1)
        elapsed = min(max(self._epoch - self._warmup_epochs, 0), steps)
        return first + (last - first) * elapsed / steps

    @property
    def threshold(self) -> float:
        """The loss per sample that the current epoch is measured by."""
        return self._threshold

    @property
    def patch_size(self) -> int:
        """Patch size of the current epoch in pixels."""
        sizes, strategy = self._patch_sizes, self._patch_strategy
        if self._in_warmup:
            return nearest_patch_size(sizes)
        if strategy in LOSS_DRIVEN or strategy == "fixed":
            return sizes[self._patch_index]
        if strategy == "random":
            return sizes[_draw_below(len(sizes), self._seed, self._epoch)]
        if strategy == "loop":
            return sizes[(self._planned_epoch - self._warmup_epochs) // self._loop_epochs % len(sizes)]
        place = plan_index(self._planned_epoch, self._epochs, self._warmup_epochs, len(sizes))
        return sizes[place] if strategy == "linear" else sizes[-1 - place]

    @property
    def fix_ratio(self) -> float:
        """Share of patch positions that stay in place in the current epoch, from 0 to 1."""
        if self._ratio_strategy == "fixed":
            return self._fixed_ratio
        if self._in_warmup:
            return self._basic_ratio
        if self._ratio_strategy in LOSS_DRIVEN:
            return self._ratio
        return plan_ratio(self._planned_epoch, self._epochs, self._warmup_epochs, self._bounds)

    def step(self, loss: SupportsFloat) -> None:
        """End the current epoch.

        Parameters
        ----------
        loss : float
            The epoch's mean loss per sample: the summed loss of the samples divided by their number, so that
            the threshold means the same for every batch size. A tensor or array of one element will do.

        Raises
        ------
        ArgumentError
            If the loss is not one finite number; the curriculum is then left as it was.
        """
        value = mean_loss(loss)
        if not self._in_warmup:
            if value <= self._threshold:
                self._move(_HARDER, -1, strategies=LOSS_DRIVEN)
                if self._patch_strategy in LOSS_DRIVEN or self._ratio_strategy in LOSS_DRIVEN:
                    self._threshold *= self._threshold_factor
            else:
                self._move(_EASIER, +1, strategies=("loss_back",))
        self._epoch += 1

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on later.

        Returns
        -------
        dict
            "epoch", "threshold", "ratio" and "patch_index" (what the loss-driven strategies have reached; the
            index counts in `patch_sizes`), and "settings", the arguments of the constructor. Plain numbers,
            strings, None and one list: it can be written as JSON.
        """
        return {
            "epoch": self._epoch,
            "threshold": self._threshold,
            "ratio": self._ratio,
            "patch_index": self._patch_index,
            "settings": {**self._settings, "tile_size": list(self._tile_size)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the curriculum that returned `state` stood.

        Parameters
        ----------
        state : mapping
            What `state_dict` returned, of a curriculum with the same settings.

        Raises
        ------
        ArgumentError
            If it is not such a state, a value is out of range, or the settings differ; the message names those
            that do. The curriculum is then left as it was.
        """
        if not isinstance(state, Mapping) or not isinstance(state.get("settings"), Mapping):
            raise ArgumentError(f"state cannot be loaded: it is not the state of a curriculum. {_PASS_A_STATE}")
        odd_keys = sorted(set(_STATE_KEYS) ^ set(state), key=str)
        if odd_keys:
            raise ArgumentError(
                f"state cannot be loaded: it must have the keys {', '.join(_STATE_KEYS)} and no others; "
                f"missing or too many: {', '.join(map(str, odd_keys))}. {_PASS_A_STATE}"
            )
        settings = state["settings"]
        differing = [
            f"{name} (saved {settings.get(name)!r}, here {self._settings.get(name)!r})"
            for name in dict.fromkeys([*self._settings, *settings])
            if name not in settings or name not in self._settings or settings[name] != self._settings[name]
        ]
        if differing:
            raise ArgumentError(
                "state cannot be loaded: it was saved by a curriculum with other settings: "
                f"{'; '.join(differing)}. Build the Curriculum with the saved settings, or start without the "
                "state."
            )
        low, high = self._bounds if self._ratio_strategy in LOSS_DRIVEN else (0.0, 1.0)
        epoch = integer("state['epoch']", state["epoch"], low=0)
        threshold = number("state['threshold']", state["threshold"], low=0, high=self._settings["threshold"])
        ratio = number("state['ratio']", state["ratio"], low=low, high=high)
        index = integer("state['patch_index']", state["patch_index"], low=0, high=len(self._patch_sizes) - 1)
        self._epoch, self._threshold, self._ratio, self._patch_index = epoch, threshold, ratio, index

    def __repr__(self) -> str:
        height, width = self._tile_size
        return (
            f"Curriculum(epoch={self._epoch} of {self._epochs}, patch_size={self.patch_size} "
            f"({self._patch_strategy}), fix_ratio={self.fix_ratio:.4g} ({self._ratio_strategy}), "
            f"threshold={self._threshold:.4g}, tile={height}x{width})"
        )

    @property
    def _planned_epoch(self) -> int:
        """The current epoch, or the last one of the plan when training goes on beyond it."""
        return min(self._epoch, self._epochs - 1)

    @property
    def _in_warmup(self) -> bool:
        # By the planned epoch, so that a training that is all warm-up stays so beyond its plan.
        return self._planned_epoch < self._warmup_epochs

    def _move(self, factor: float, step: int, strategies: tuple[str, ...]) -> None:
        """Change what follows one of `strategies`: ratio x `factor`, patch `step` sizes larger, clipped."""
        if self._ratio_strategy in strategies:
            low, high = self._bounds
            self._ratio = min(max(self._ratio * factor, low), high)
        if self._patch_strategy in strategies:
            self._patch_index = min(max(self._patch_index + step, 0), len(self._patch_sizes) - 1)


def _strengths(given: float | Sequence[float] | None) -> tuple[float, float]:
    """The strengths of the first and the last epoch, checked."""
    if given is None:
        return 1.0, 1.0
    ends = list(given) if isinstance(given, list | tuple) else [given, given]
    if len(ends) != 2:
        raise ArgumentError(
            f"augment_strength={given!r} cannot be used: it must be one number, or two, of the first and the last "
            "epoch."
        )
    return number("augment_strength", ends[0], low=0), number("augment_strength", ends[1], low=0)


def _only_with_fixed(name: str, value: object, strategy_name: str, strategy: str) -> ArgumentError:
    return ArgumentError(
        f"{name}={value!r} cannot be used with {strategy_name}={strategy!r}, which chooses it by itself: "
        f"leave {name} out, or pass {strategy_name}='fixed'."
    )


def _draw_below(count: int, seed: int, epoch: int) -> int:
    """Draw one of 0 .. count-1 from a counter-based generator: the same one for the same seed and epoch."""
    counter = np.array([0, 0, 0, epoch], dtype=np.uint64)
    key = np.array([seed, _PATCH_SIZE_STREAM], dtype=np.uint64)
    # Raw words, as numpy keeps these the same between versions and the numbers of Generator not.
    return int(np.random.Philox(counter=counter, key=key).random_raw()) * count >> 64
