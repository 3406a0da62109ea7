"""A part of a job's slides: how it is named, and that the parts are the whole."""

from __future__ import annotations

from typing import Any

import pytest

from cellmix_dali.errors import ArgumentError
from cellmix_dali.jobs import JobShard


@pytest.mark.parametrize(
    ("text", "words"), [("3", "such as 3/64"), ("0/2", "shard"), ("3/2", "shard"), ("1/0", "shards"), ("a/b", "3/64")]
)
def test_what_is_no_part(text: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        JobShard.read(text)


def test_each_slide_is_in_one_part() -> None:
    slides: Any = list(range(10))
    for of in (1, 3, 12):
        parts = [JobShard(number, of).slides(slides) for number in range(1, of + 1)]
        assert sorted(slide for part in parts for slide in part) == slides
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
