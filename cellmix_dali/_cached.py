"""`functools.cached_property` as it is since Python 3.12: without a lock.

Before, one lock served a property of all objects of a class: slides were opened one after the other, whatever the
number of threads, and a thread that waited for another while it held the lock could wait for ever.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["cached_property"]

if TYPE_CHECKING or sys.version_info >= (3, 12):
    from functools import cached_property
else:

    class cached_property:  # noqa: N801 (it stands for that of functools)
        """A property that is found out once and then lies in the object's dictionary.

        Threads that ask at the same time may each find it out; one result stays.
        """

        def __init__(self, find: Callable[[Any], Any]) -> None:
            self.func, self.__doc__ = find, find.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self._name = name

        def __get__(self, thing: Any, owner: type | None = None) -> Any:
            if thing is None:
                return self
            # What is in the dictionary already comes from there: Python asks here only as long as it is not.
            return thing.__dict__.setdefault(self._name, self.func(thing))
