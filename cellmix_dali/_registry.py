"""A registry: things by name, entered by a decorator or by the entry points of installed packages."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from .errors import ArgumentError, unknown_name

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Things of one kind by name, in the order in which they were entered.

    What other packages offer is loaded when the registry is first read. An entry point of the group has the thing's
    name and says the module that enters it: ``halfmix = "my_package.halfmix"``. One that fails is left out, with a
    warning that names it.

    Parameters
    ----------
    what : str
        What the things are, such as "tissue method".
    group : str
        The group of entry points.
    fold : callable, optional
        Makes spellings of one name alike, for `spelled` and for names that are taken; by default, case is ignored.
    """

    def __init__(self, what: str, group: str, fold: Callable[[str], str] = str.lower) -> None:
        self.what, self.group, self._fold = what, group, fold
        self._entries: dict[str, T] = {}
        self._loaded = self._loading = False
        self._lock = threading.RLock()  # a module that is being loaded enters its things from the same thread

    def enter(self, name: str, thing: T) -> None:
        """Enter a thing.

        Raises
        ------
        ArgumentError
            If the name is not one, or is taken.
        """
        if not isinstance(name, str) or not name:
            raise ArgumentError(f"A {self.what} needs a name, not {name!r}.")
        with self._lock:
            if self._fold(name) in map(self._fold, self._entries):
                raise ArgumentError(f"There is a {self.what} {name!r} already: give yours another name.")
            self._entries[name] = thing

    def remove(self, name: str) -> None:
        """Take a thing out again."""
        del self._entries[self.spelled(name)]

    def spelled(self, name: object) -> str:
        """Return a name as it was entered.

        Raises
        ------
        ArgumentError
            If there is none, with the near miss.
        """
        asked = self._fold(str(name))
        for known in self:
            if self._fold(known) == asked:
                return known
        raise unknown_name(self.what, name, self)

    def __getitem__(self, name: str) -> T:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._all()))

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, T]:
        """All entries, those of other packages among them."""
        if not self._loaded:
            with self._lock:
                if not self._loaded and not self._loading:
                    self._load()
        return self._entries

    def _load(self) -> None:
        """Load what other packages offer."""
        self._loading = True
        try:
            for point in sorted(entry_points(group=self.group), key=lambda point: point.name):
                try:
                    point.load()
                except Exception as error:  # a module of another package may raise anything while it is imported
                    self._warn(point, f"{type(error).__name__}: {error}")
                else:
                    if self._fold(point.name) not in map(self._fold, self._entries):
                        self._warn(point, f"it enters no {self.what} of that name")
            self._loaded = True
        finally:
            self._loading = False

    def _warn(self, point: EntryPoint, why: str) -> None:
        package = f" of the package {point.dist.name}" if point.dist is not None else ""
        warnings.warn(
            f"The {self.what} {point.name!r}{package} ({point.value}) is left out: {why}. Mend that package, or "
            "uninstall it.",
            stacklevel=4,
        )
