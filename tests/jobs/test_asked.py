"""What a job was asked for, and how that differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellmix_dali.jobs.asked import differences, fingerprint, is_whole, with_sum


def test_differences_are_in_words_and_in_order() -> None:
    before = {"a": 1, "b": "x", "c": [1, 2], "gone": True}
    assert differences(before, dict(before)) == []
    assert differences(before, {"new": None, "c": [1, 2], "b": "y", "a": 1.5}) == [
        "a was 1, is 1.5",
        'b was "x", is "y"',
        "gone was true, is null",
    ]
    assert differences({}, {"new": 2}) == ["new was null, is 2"]
    assert differences({"a": Path("x")}, {"a": "x"}) == ['a was "x", is "x"']  # a file may hold anything


def test_the_fingerprint_is_of_the_values_whatever_their_order() -> None:
    assert fingerprint({"a": 1, "b": [1, "é"]}) == fingerprint({"b": [1, "é"], "a": 1})
    assert len({fingerprint(each) for each in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, {"a": [1]})}) == 5


@pytest.mark.parametrize("change", [{"a": 2}, {"b": 1}, {"sum": "0" * 16}, {"sum": None}])
def test_a_checksum_tells_what_has_changed(change: dict[str, object]) -> None:
    whole = with_sum({"a": 1})
    assert is_whole(dict(whole))
    assert not is_whole(whole | change)
    taken = dict(whole)
    is_whole(taken)
    assert taken == {"a": 1}
    assert not is_whole(taken)
