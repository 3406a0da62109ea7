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
    assert argument in parameters
    default = parameters[argument].default
    assert (default.tolist() if hasattr(default, "tolist") else default) == value
    assert type(default) is type(value) or isinstance(default, int | float)


def test_there_are_many() -> None:
    assert len(STATED) > 100
