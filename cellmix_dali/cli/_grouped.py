"""Options that are declared once, as the fields of a dataclass, and taken by several commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, get_type_hints

from .._arguments import local_only, path_of_url
from .._urls import is_url

__all__ = ["takes"]

_T = TypeVar("_T")


class Applied(Protocol):
    """Options that hold for all that a command does, so that it need not hand them on: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def apply(self) -> None:
        """Let this process go by them."""


def takes(
    *applied: type[Applied], out_in_stores: bool = False, **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take the fields of those of its parameters that are dataclasses as options.

    Parameters
    ----------
    *applied : dataclass
        Options that the command takes beside its parameters; they are applied before it begins.
    out_in_stores : bool, default False
        Whether ``--out`` may be a URL.
    **defaults
        Of fields, where the command's differ from the dataclass's.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        parameters: list[Parameter] = []
        groups: dict[str, type] = {}
        for name, parameter in signature(command).parameters.items():
            kind = hints[name]
            if isinstance(kind, type) and is_dataclass(kind):
                groups[name] = kind
                parameters += _options_of(kind, defaults)
            else:
                parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=kind))
        for kind in applied:
            parameters += _options_of(kind, defaults)

        def run(**given: Any) -> None:
            for kind in applied:  # before a URL gets its path, which goes by them
                _taken(kind, given).apply()
            for name, value in given.items():
                if isinstance(value, Path) and is_url(value):
                    local = name == "out" and not out_in_stores
                    given[name] = local_only("Results (--out)", value) if local else path_of_url(value)
            for name, group in groups.items():
                given[name] = _taken(group, given)
            command(**given)

        run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def _taken(kind: type[_T], given: dict[str, Any]) -> _T:
    """A dataclass, of its fields, which are no longer among those given."""
    return kind(**{field.name: given.pop(field.name) for field in fields(kind)})  # type: ignore[arg-type]


def _options_of(kind: type, defaults: Mapping[str, Any]) -> Iterator[Parameter]:
    """A dataclass's fields as parameters."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        default = defaults.get(field.name, Parameter.empty if field.default is MISSING else field.default)
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name])
