"""A job's folder: one process at a time, and the settings that it was begun with are read rightly or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cellmix_dali.errors import ArgumentError
from cellmix_dali.jobs.folder import JobFolder


class Toy(JobFolder):
    """Keeps what it found."""

    job, name, format = "toy", "toy.json", 3
    says: ClassVar = {"settings": dict}
    found: dict[str, Any] | None

    def begin(self) -> None:
        self.found = self.read()
        if self.found is None:
            self.write({"settings": {"a": 1, "b": "é"}})


class Older(Toy):
    """Reads what has neither number nor checksum, too."""

    also_read = (None, 2)


def test_what_was_asked_for_is_found_again(tmp_path: Path) -> None:
    with Toy(tmp_path / "new") as toy:
        assert toy.found is None
    with Toy(tmp_path / "new") as toy:
        assert toy.found == {"format": 3, "settings": {"a": 1, "b": "é"}}


def test_one_process_at_a_time_and_one_that_cannot_begin_lets_go(tmp_path: Path) -> None:
    with Toy(tmp_path), pytest.raises(ArgumentError, match="Another toy is running in"):
        Toy(tmp_path)
    (tmp_path / "toy.json").write_text("{")
    with pytest.raises(ArgumentError, match="cannot be read"):
        Toy(tmp_path)
    (tmp_path / "toy.json").unlink()
    Toy(tmp_path).close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "it is not an object"),
        ('{"settings": {}}', "another version of cellmix_dali: begin anew"),
        ('{"format": 2, "settings": {}}', "another version"),
        ('{"format": 3, "settings": {}}', "its checksum is another one"),
        ("", "cannot be read"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "toy.json").write_text(content)
    with pytest.raises(ArgumentError, match=words) as told:
        Toy(tmp_path)
    assert str(tmp_path / "toy.json") in str(told.value)
    assert (tmp_path / "toy.json").read_text() == content


def test_damage_is_refused_wherever_it_is(tmp_path: Path) -> None:
    Toy(tmp_path).close()
    path = tmp_path / "toy.json"
    whole = path.read_bytes()
    values = json.loads(whole)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            with Toy(tmp_path) as toy:
                assert toy.found == {name: value for name, value in values.items() if name != "sum"}  # white space
        except ArgumentError:
            pass


def test_a_file_of_before_is_read_where_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "toy.json").write_text('{"settings": {"a": 2}}')
    with Older(tmp_path) as toy:
        assert toy.found == {"settings": {"a": 2}}
    for content in ('{"settings": 3}', "{}"):
        (tmp_path / "toy.json").write_text(content)
        with pytest.raises(ArgumentError, match="it does not say 'settings'"):
            Older(tmp_path)
    (tmp_path / "toy.json").write_text('{"format": 2, "settings": {}}')
    with pytest.raises(ArgumentError, match="checksum"):
        Older(tmp_path)
