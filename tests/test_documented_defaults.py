"""What a docstring says of a default is what the signature has."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import pytest

import cellmix_dali
from cellmix_dali.mixing.saliency import SALIENCY_SIDE
from cellmix_dali.plugins import normalise
from cellmix_dali.reading import windows
from cellmix_dali.slides import resolution, samples
from cellmix_dali.storage import patience
from cellmix_dali.tables import one_resolution

# "name : type, default value", in the docstring's own words for what stands for None or a constant.
VALUE = r"\"[^\"]*\"|\([^)]*\)|-?\d+(?:,\d{3})+|\d+\*\*\d+|[-\w.]+"
ENTRY = re.compile(rf"^ *(?P<names>\w+(?:, \w+)*) : .*?, default (?P<values>(?:{VALUE})(?: and (?:{VALUE}))*)", re.M)


def value_of(text: str) -> Any:
    """What a docstring says; words are no value."""
    text = text.rstrip(".")
    base, power, exponent = text.partition("**")
    if power:
        return int(base) ** int(exponent)
    return ast.literal_eval(text.replace(",", "") if text[-1:].isdigit() else text)


def documented() -> Iterator[tuple[str, Any]]:
    """Every public function, class and method of the package that has a docstring."""
    for module in pkgutil.walk_packages(cellmix_dali.__path__, "cellmix_dali."):
        if module.name.endswith("__main__") or (module.name.endswith(".lightning") and find_spec("lightning") is None):
            continue
        loaded = importlib.import_module(module.name)
        for name, of in vars(loaded).items():
            if getattr(of, "__module__", None) != module.name or not (inspect.isfunction(of) or inspect.isclass(of)):
                continue
            yield f"{module.name}.{name}", of
            for inner, method in vars(of).items() if inspect.isclass(of) else ():
                if inspect.isfunction(method):
                    yield f"{module.name}.{name}.{inner}", method


def said(of: Any) -> Iterator[tuple[str, Any]]:
    """Names and defaults that a docstring states as values."""
    for entry in ENTRY.finditer(inspect.getdoc(of) or ""):
        names, values = entry["names"].split(", "), re.findall(VALUE, entry["values"].replace(" and ", " "))
        for name, value in zip(names, values * (len(names) if len(values) == 1 else 1), strict=True):
            with suppress(ValueError, SyntaxError):
                yield name, value_of(value)


STATED = [(name, of, *each) for name, of in documented() for each in said(of)]


@pytest.mark.parametrize(("of", "argument", "value"), [each[1:] for each in STATED], ids=[f"{each[0]}-{each[2]}" for each in STATED])  # fmt: skip  # noqa: E501
def test_defaults(of: Any, argument: str, value: object) -> None:
    parameters = inspect.signature(of).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()) and argument not in parameters:
        return  # said for those that inherit
    if argument not in parameters and argument in vars(of):  # of the class itself
        assert vars(of)[argument] == value
        return
    assert argument in parameters
    default = parameters[argument].default
    assert (default.tolist() if hasattr(default, "tolist") else default) == value
    assert type(default) is type(value) or isinstance(default, int | float)


def test_numbers_that_the_pages_state() -> None:
    """Seconds, shares, pixels and bytes by name: nothing else holds them to what users were told."""
    assert (patience.RETRY_SECONDS, patience.SLIDE_TIMEOUT) == (60, 3600)
    assert (resolution.TOLERANCE, resolution.MPP_RANGE, one_resolution.MIXED_BEYOND) == (0.02, (0.05, 40), 0.05)
    assert (samples.MOST_BLOCK_PIXELS, windows.MARGIN, SALIENCY_SIDE) == (2**26, 16, 128)
    assert (normalise.MEAN, normalise.STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_there_are_many() -> None:
    assert len(STATED) > 100
