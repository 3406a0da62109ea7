"""What a job is asked for, and how that differs from what it was asked for before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["differences", "fingerprint", "is_whole", "with_sum"]

_SUM = "sum"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say which settings differ, for a person: "tile_size was 256, is 512".

    Parameters
    ----------
    before, now : mapping of str to JSON values
        All settings, by name.
    """
    return [
        f"{name} was {_told(before.get(name))}, is {_told(now.get(name))}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def _told(value: Any) -> str:
    return json.dumps(value, default=str)


def fingerprint(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON values, whatever their order."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def with_sum(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values with a checksum of them: what a failing disk makes of a record must not count as done."""
    return {**values, _SUM: fingerprint(values)[:16]}


def is_whole(values: dict[str, Any]) -> bool:
    """Take the checksum out of JSON values, and say whether it is theirs."""
    return bool(values.pop(_SUM, None) == fingerprint(values)[:16])
