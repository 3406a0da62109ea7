"""Records of runs: what is written is what is read, and what is not a record is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cellmix_dali.comparison.records import RunRecord
from cellmix_dali.errors import ArgumentError


def test_there_and_back(make_run: Callable[..., RunRecord], many_records: list[RunRecord]) -> None:
    plain = make_run("CutMix", "a", 2, candidate={"learning_rate": 0.003, "p": 0.5})
    for record in (plain, many_records[-1]):
        text = json.dumps(record.to_json(), allow_nan=False)
        assert RunRecord.from_json(json.loads(text)) == record
    assert plain.pair == ("a", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": 3}, "arm is 3"),
        ({"fold": ""}, "fold is ''"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"best_epoch": 2}, "best_epoch=2"),
        ({"candidate": [1]}, "candidate is list"),
        ({"candidate": {"p": "half"}}, "candidate\\['p'\\] holds 'half'"),
        ({"test": {"loss": 1.0}}, "test lacks accuracy, balanced_accuracy, macro_f1, auroc"),
        ({"epochs": []}, "epochs is empty"),
        ({"epochs": [{"epoch": 0}]}, "batch_losses has 2 epochs, and epochs 1"),
        ({"batch_losses": [[0.5], [float("nan")]]}, "batch_losses\\[1\\] holds nan"),
        ({"batch_losses": [[0.5], 3]}, "batch_losses\\[1\\] is int"),
        ({"confusion": [[1, -1]]}, "confusion=-1"),
        ({"seconds": True}, "seconds holds True"),
        ({"speed": 3}, "has odd speed"),
    ],
)
def test_what_is_wrong_is_named(make_run: Callable[..., RunRecord], changes: dict[str, Any], message: str) -> None:
    value = json.loads(json.dumps(make_run().to_json())) | changes
    with pytest.raises(ArgumentError, match=f"not a record of a run.*: .*{message}"):
        RunRecord.from_json(value)


def test_what_is_missing_is_named(make_run: Callable[..., RunRecord]) -> None:
    value = make_run().to_json()
    del value["test"], value["seconds"]
    with pytest.raises(ArgumentError, match="it lacks test, seconds"):
        RunRecord.from_json(value)
    with pytest.raises(ArgumentError, match="it is list, not a JSON object"):
        RunRecord.from_json([])
