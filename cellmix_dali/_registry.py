"""What can be added by name: one registry for each kind of thing, filled here, by decorators, and by entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from threading import RLock
from typing import Any, TypeVar

from cellmix_dali.errors import ArgumentError, unknown_name

__all__ = ["Registry", "folded"]

Value = TypeVar("Value")
_Class = TypeVar("_Class", bound="type[Any]")


def folded(name: object) -> str:
    """Return a name without what makes no difference: case, "-" and "_"."""
    return str(name).lower().replace("-", "").replace("_", "")


class Registry(MutableMapping[str, Value]):
    """Things by name, in the order in which they were registered.

    Entry points of installed packages are loaded at the first look, in every process, so that worker processes know
    them, too. What a decorator registers is known in the processes that import its module.

    Parameters
    ----------
    what : str
        What a name stands for, such as "method", for messages.
    group : str
        The group of entry points, such as "cellmix_dali.mixing_methods".
    adopt : callable
        Registers what an entry point names, from the entry point's name and the object; it is not called where a
        decorator in the imported module has registered that name.
    reserved : tuple of str
        Names that nothing may take.
    """

    def __init__(
        self, what: str, group: str, adopt: Callable[[str, Any], object], *, reserved: tuple[str, ...] = ()
    ) -> None:
        self._what, self._group, self._adopt, self._reserved = what, group, adopt, reserved
        self._values: dict[str, Value] = {}
        self._loaded = False
        self._lock = RLock()

    def add(self, name: str, value: Value) -> None:
        """Register a value.

        Raises
        ------
        ArgumentError
            If the name is taken, in any spelling.
        """
        if folded(name) in {folded(known) for known in (*self._values, *self._reserved)}:
            raise ArgumentError(f"There is a {self._what} {name!r} already: give yours another name.")
        self._values[name] = value

    def of_classes(
        self, name: str, base: type[Any], needs: str, *, has: tuple[str, ...] = ()
    ) -> Callable[[_Class], _Class]:
        """Return the decorator that registers a class, which then knows its ``name``.

        Parameters
        ----------
        name : str
            The name.
        base : type
            What the class is derived from; nothing abstract of it may be left.
        needs : str
            What is to be decorated, for messages: "a class of StainMethod that has fit".
        has : tuple of str
            Attributes that it must have.

        Raises
        ------
        ArgumentError
            If the name is taken, or no text, or another thing is decorated.
        """
        if not isinstance(name, str) or not name:
            raise ArgumentError(f"A {self._what} cannot be named {name!r}: give a text.")

        def register(of: _Class) -> _Class:
            fits = isinstance(of, type) and issubclass(of, base) and not isabstract(of)
            if not fits or not all(getattr(of, each, None) for each in has):
                raise ArgumentError(f"{of!r} cannot be a {self._what}: give {needs}.")
            self.add(name, of)  # type: ignore[arg-type]
            of.name = name
            return of

        return register

    def canonical(self, name: object) -> str:
        """Return the registered spelling of a name; case, "-" and "_" make no difference.

        Raises
        ------
        ArgumentError
            If nothing has that name, with the near miss and all names.
        """
        found = {folded(known): known for known in self}.get(folded(name))
        if found is None:
            raise unknown_name(self._what, name, self)
        return found

    def names(self) -> tuple[str, ...]:
        """Return all names, those of entry points too, without importing the packages that these lead to."""
        if self._loaded:
            return tuple(self._values)
        return tuple(dict.fromkeys((*self._values, *(point.name for point in self._points()))))

    def _points(self) -> list[EntryPoint]:
        return sorted(entry_points(group=self._group), key=lambda point: point.name)

    def _has(self, name: str) -> bool:
        return folded(name) in {folded(known) for known in self._values}

    def _load(self) -> dict[str, Value]:
        with self._lock:
            if not self._loaded:
                self._loaded = True  # first: what is imported may look into the registry
                try:
                    for point in self._points():
                        self._load_one(point)
                except BaseException:
                    self._loaded = False
                    raise
        return self._values

    def _load_one(self, point: EntryPoint) -> None:
        try:
            found = point.load()
            if not self._has(point.name):  # else its module has registered it, by a decorator
                self._adopt(point.name, found)
            if not self._has(point.name):
                raise ValueError("what it names has another name")
        except Exception as error:  # a user's module may raise anything while it is imported
            package = "an unknown package" if point.dist is None else point.dist.name
            raise ArgumentError(
                f"The {self._what} {point.name!r} of {package} cannot be loaded ({error}): mend its entry point "
                f"{point.value!r} in the group {self._group}, or uninstall the package."
            ) from error

    def __getitem__(self, name: str) -> Value:
        return self._load()[name]

    def __setitem__(self, name: str, value: Value) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._load()))

    def __len__(self) -> int:
        return len(self._load())
