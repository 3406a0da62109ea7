"""A folder that is let go just when it is looked who holds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellmix_dali.errors import ArgumentError
from cellmix_dali.storage import folder_lock
from cellmix_dali.storage.folder_lock import FolderLock


def test_a_lock_that_is_let_go_between_two_looks_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = FolderLock(tmp_path, "job")

    def ended(_: int) -> bool:
        first.close()  # the last process of a killed job ends: nobody is found to hold it
        return False

    monkeypatch.setattr(folder_lock, "_DYING", -1)
    with pytest.raises(ArgumentError, match="Another job is running"):
        FolderLock(tmp_path, "job")
    monkeypatch.setattr(folder_lock, "_is_left_behind", ended)
    FolderLock(tmp_path, "job").close()
