"""RandStainNA: stain normalisation to virtual templates that are drawn anew for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml
from numpy.typing import NDArray

from cellmix_dali._arguments import number
from cellmix_dali.errors import ArgumentError, unknown_name
from cellmix_dali.plugins.colour_stages import NUMBERS, Stages, stage_numbers
from cellmix_dali.stain import StainTable

from ._checks import probability
from ._registered import register_augmentation
from .base import ColourChange
from .hed_jitter import HED_UNIT, hed_numbers

__all__ = ["RandStainNA", "Template"]

_SPACES = ("LAB", "HSV", "HED")
_DISTRIBUTIONS = ("normal", "laplace", "uniform")


@dataclass(frozen=True)
class Template:
    """How means and deviations of images are distributed in one colour space, channel by channel.

    Parameters
    ----------
    space : {"LAB", "HSV", "HED"}
        LAB and HSV in OpenCV's 8-bit units, HED in skimage's.
    means, mean_deviations : (float, float, float)
        Mean and deviation of the images' means.
    deviations, deviation_deviations : (float, float, float)
        Mean and deviation of the images' deviations.

    Raises
    ------
    ArgumentError
        If a value cannot be used.
    """

    space: str
    means: Sequence[float]
    mean_deviations: Sequence[float]
    deviations: Sequence[float]
    deviation_deviations: Sequence[float]

    def __post_init__(self) -> None:
        if self.space not in _SPACES:
            raise unknown_name("space", self.space, _SPACES)
        for name in ("means", "mean_deviations", "deviations", "deviation_deviations"):
            values = tuple(getattr(self, name))
            if len(values) != 3:
                raise ArgumentError(f"{name}={values!r}: give three numbers, one for each channel of {self.space}.")
            low = -np.inf if name == "means" else 0.0
            object.__setattr__(self, name, tuple(number(name, value, low) for value in values))

    @classmethod
    def read(cls, path: str | Path) -> Template:
        """Read the YAML file that RandStainNA's own preparation writes.

        Raises
        ------
        ArgumentError
            If the file cannot be read, or is not one.
        """
        try:
            found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ArgumentError(f"{path} cannot be read as RandStainNA's statistics ({error}).") from error
        return cls.of(found, str(path))

    @classmethod
    def of(cls, found: Any, where: str = "statistics") -> Template:
        """Make a template of what such a file holds: ``{"color_space": "LAB", "L": {"avg": {"mean": ...}, ...}}``.

        Raises
        ------
        ArgumentError
            If something is missing.
        """
        try:
            space = str(found["color_space"])
            channels = [found[channel] for channel in space]
            columns = [[each[of][which] for each in channels] for of in ("avg", "std") for which in ("mean", "std")]
        except (KeyError, TypeError) as error:
            raise ArgumentError(
                f"{where}: not the statistics of RandStainNA ({error!r} is missing): expected color_space and, for "
                "each of its channels, avg and std with mean and std."
            ) from error
        return cls(space, *columns)


@register_augmentation("randstainna")
@dataclass(frozen=True)
class RandStainNA(ColourChange):
    """Bring each sample to means and deviations that are drawn, in a colour space that is drawn from those given.

    Parameters
    ----------
    templates : sequence of Template, str, Path or mapping
        One for each colour space; a path is a YAML file of the authors' preparation, a mapping what it holds. Or the
        table that ``cellmix-dali stain`` wrote (".parquet"): those of its slides' tiles, in all three spaces.
    std_hyper : float, default 0.0
        How much wider, or below 0 narrower, the templates are drawn: deviations are multiplied by 1 + std_hyper.
    distribution : {"normal", "laplace", "uniform"}, default "normal"
        What the templates are drawn from; uniform reaches three deviations to both sides.
    p : float, default 0.5
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If a value cannot be used.

    Notes
    -----
    Source: Shen, Luo, Shen and Ke, "RandStainNA: Learning Stain-Agnostic Features from Histology Slides by Bridging
    Stain Augmentation and Normalization" (MICCAI 2022), https://github.com/yiqings/RandStainNA. As there, a result of
    HED is stretched to the whole range of levels. Unlike there, values are rounded once, at the end, not to bytes of
    LAB or HSV on the way. A curriculum's strength multiplies the templates' deviations.
    """

    kinds: ClassVar[tuple[str, ...]] = ("lab", "hsv", "density", "stretch")
    measured: ClassVar[bool] = True
    templates: Sequence[Template | str | Path | Mapping[str, Any]] = ()
    std_hyper: float = 0.0
    distribution: str = "normal"
    p: float = 0.5

    def __post_init__(self) -> None:
        probability(self.p)
        number("std_hyper", self.std_hyper, -1.0)
        if self.distribution not in _DISTRIBUTIONS:
            raise unknown_name("distribution", self.distribution, _DISTRIBUTIONS)
        given = [self.templates] if isinstance(self.templates, Template | str | Path | Mapping) else self.templates
        templates = tuple(template for each in given for template in _templates_of(each))
        if not templates or len({each.space for each in templates}) < len(templates):
            raise ArgumentError(f"templates={self.templates!r}: give at least one, and one for each colour space.")
        object.__setattr__(self, "templates", templates)

    def numbers(self, random: np.random.Generator, samples: int, strength: float) -> Stages:
        """Draw a colour space and a template per sample; see `ColourChange.numbers`."""
        chosen = random.integers(0, len(self.templates), samples)
        numbers = np.zeros((samples, len(self.kinds), NUMBERS), np.float32)
        width = strength * (1 + self.std_hyper)
        for place, template in enumerate(self.templates):
            assert isinstance(template, Template)
            shift = self._around(random, template.means, template.mean_deviations, width, samples)
            scale = self._around(random, template.deviations, template.deviation_deviations, width, samples)
            given: dict[str, Any] = {"active": chosen == place, "measured": True}
            if template.space == "HED":
                numbers[:, 2] = hed_numbers(samples, scale=scale * HED_UNIT, shift=shift * HED_UNIT, **given)
                numbers[:, 3, 0] = chosen == place
            else:
                stage = self.kinds.index(template.space.lower())
                numbers[:, stage] = stage_numbers(samples, scale=scale, shift=shift, **given)
        return numbers

    def _around(
        self,
        random: np.random.Generator,
        means: Sequence[float],
        deviations: Sequence[float],
        width: float,
        samples: int,
    ) -> NDArray[np.float64]:
        """Draw three numbers per sample."""
        middle, spread = np.array(means), np.array(deviations) * width
        if self.distribution == "uniform":
            return random.uniform(middle - 3 * spread, middle + 3 * spread, (samples, 3))
        of = random.normal if self.distribution == "normal" else random.laplace
        return np.asarray(of(middle, spread, (samples, 3)))


def _templates_of(given: Template | str | Path | Mapping[str, Any]) -> list[Template]:
    """The templates, whatever they are given as."""
    if isinstance(given, Template):
        return [given]
    if isinstance(given, Mapping):
        return [Template.of(given)]
    if str(given).endswith(".parquet"):
        return [Template.of(of_space) for of_space in StainTable.open(given).templates()]
    return [Template.read(given)]
