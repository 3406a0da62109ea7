"""A plugin of pytest: which blocks of the project each test enters, and how long it takes, as lines of JSON."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import probe
import pytest

_shared: set[int] = set()  # by fixtures that more than one test uses


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Generator[None, None, None]:
    if fixturedef.scope == "function":
        yield
        return
    place = Path(os.environ["CELLMIX_DALI_REACHED"]).stat().st_size
    yield
    _shared.update(probe.since(place))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, None, None]:
    place, began = probe.forget(), time.monotonic()
    _shared.clear()
    yield
    blocks = probe.since(place)
    record = {
        "test": item.nodeid,
        "seconds": round(time.monotonic() - began, 3),
        "blocks": sorted(blocks - _shared),
        "shared": sorted(_shared),
    }
    with Path(os.environ["CELLMIX_DALI_RECORD"]).open("a") as file:
        file.write(json.dumps(record) + "\n")
