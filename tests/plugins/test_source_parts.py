"""A source of tiles part by part: sizes, groups, digests, what it gives out, and the state it keeps."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cellmix_dali import TileTable
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import make_mixer
from cellmix_dali.plugins import PlanSource, TileSource
from cellmix_dali.plugins._table_facts import digest, groups, image_size
from cellmix_dali.plugins.mix import _seed
from cellmix_dali.plugins.source import drawn_flips, mixed_labels
from cellmix_dali.sampling import EpochOrder


def tiles(size: list[int], label: Any = None) -> TileTable:
    rows = len(size)
    slides = [f"{number % 2}.svs" for number in range(rows)]
    return TileTable.from_columns(slides, x=range(rows), y=[0] * rows, size=size, label=label)


@pytest.mark.parametrize(
    ("sizes", "asked", "found"),
    [
        ([32, 32], None, (32, False)),
        ([32, 32], 32, (32, False)),
        ([32, 32], 16, (16, True)),
        ([32, 32], 64, (64, True)),
        ([32, 48], 48, (48, True)),
        ([32, 48], 32, (32, True)),
        ([], 8, (8, True)),
        ([], 1, (1, False)),
    ],
)
def test_sizes_of_images(sizes: list[int], asked: int | None, found: tuple[int, bool]) -> None:
    assert image_size(tiles(sizes), asked) == found


def test_windows_of_several_sizes_need_a_size() -> None:
    with pytest.raises(ArgumentError, match="window sizes from 32 to 48 pixels"):
        image_size(tiles([48, 32, 40]), None)
    with pytest.raises(ArgumentError, match="tile_size=0"):
        image_size(tiles([32]), 0)


def test_groups_are_slides_or_classes_and_of_shares_the_greatest() -> None:
    hard, soft = tiles([8] * 3, [2, 0, 2]), tiles([8] * 3, [[0.2, 0.8], [0.5, 0.5], [0.6, 0.4]])
    assert groups(hard, None) is None
    for balance, table, want in (("slide", hard, [0, 1, 0]), ("class", hard, [2, 0, 2]), ("class", soft, [1, 0, 0])):
        found = groups(table, balance)
        assert found is not None
        assert (found.tolist(), found.dtype) == (want, np.int32)
    with pytest.raises(ArgumentError, match="needs labels"):
        groups(tiles([8]), "class")
    with pytest.raises(ArgumentError, match="balance 'slides'"):
        groups(hard, "slides")


def test_digests_are_of_the_values_whatever_they_are_stored_in() -> None:
    values = np.array([3, 1, 2])
    want = hashlib.sha256(values.astype("<i8").tobytes() + np.array([0.5]).astype("<f8").tobytes()).hexdigest()[:16]
    for kind in (np.int16, np.int32, np.uint8):
        assert digest(values.astype(kind), np.array([0.5], np.float32)) == want
    assert digest(values[::-1], np.array([0.5])) != want


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_what_a_source_gives_out(table: TileTable, mixed: bool, num_classes: int | None) -> None:
    plans = PlanSource(make_mixer("CutMix", p=0.7, alpha=0.4), tile_size=256, batch_size=4) if mixed else None
    source = TileSource(
        table, batch_size=4, plans=plans, num_classes=num_classes, flips=True, seed=5, rank=1, world_size=2
    )
    assert source.outputs == ["images", "labels", "tile", *(["parameters"] if mixed else [])]
    assert source.soft == (num_classes is not None)
    fields = (
        "in_ids",
        "in_anchors",
        "out_anchors",
        "shapes",
        *(("weights",) if num_classes is None else ()),
        "parameters",
    )
    assert source.plan_fields == (fields if mixed else ())
    assert len(source) == len(table) // 8
    told = source.settings()
    assert {name: told[name] for name in ("batch_size", "seed", "world_size", "flips", "drop_last", "shuffle")} == {
        "batch_size": 4, "seed": 5, "world_size": 2, "flips": True, "drop_last": True, "shuffle": True,
    }  # fmt: skip
    want = ("CutMix", {"alpha": 0.4}, 0.7) if mixed else (None, None, None)
    assert (told["method"], told["method_parameters"], told["p"]) == want
    assert "rank" not in told
    source.close()


def test_soft_labels_of_the_table_are_soft_without_a_number_of_classes(table: TileTable) -> None:
    shares = table.with_labels(np.full((len(table), 2), 0.5))
    for of, soft in ((table, False), (shares, True)):
        source = TileSource(of, batch_size=4)
        assert source.soft == soft
        source.close()


def test_the_state_says_which_tiles_are_bad_and_which_a_decoder_rejects(table: TileTable) -> None:
    source = TileSource(table, batch_size=4)
    assert source.state_dict() == {"bad": {}, "rejected": {}}
    state = {"bad": {"3": "torn"}, "rejected": {"5": "odd"}}
    source.load_state_dict(state)
    assert source.state_dict() == {"bad": {3: "torn"}, "rejected": {5: "odd"}}
    source.load_state_dict({"bad": {}})
    assert source.state_dict() == {"bad": {}, "rejected": {}}
    source.mark_bad(7, "It is wet.")
    assert source.state_dict()["bad"] == {7: "It is wet."}
    source.close()


def test_flips_are_two_bits_a_sample_of_their_own_stream() -> None:
    key = {"seed": 4, "epoch": 1, "iteration": 2, "rank": 3}
    found = drawn_flips(6, **key)
    random = np.random.Philox(key=np.array([4, 2], np.uint64), counter=np.array([0, 2, 1, 3], np.uint64))
    np.testing.assert_array_equal(found, np.random.Generator(random).integers(0, 2, (6, 2), dtype=np.int32))
    for name in key:
        assert any((drawn_flips(6, **key | {name: key[name] + more}) != found).any() for more in (1, 2))


def test_labels_become_shares_and_are_mixed_by_the_plans_weights() -> None:
    plan = PlanSource(make_mixer("Mixup"), tile_size=8, batch_size=3).draw(0, 1)
    hard, soft = np.array([2, 0, 1]), np.random.default_rng(0).dirichlet(np.ones(4), 3).astype(np.float32)
    np.testing.assert_array_equal(mixed_labels(hard, 4, None), np.eye(4)[hard])
    np.testing.assert_array_equal(mixed_labels(soft, 4, None), soft)
    np.testing.assert_allclose(mixed_labels(hard, 4, plan), plan.weights @ np.eye(4)[hard], atol=1e-6)
    np.testing.assert_allclose(mixed_labels(soft, 4, plan), plan.weights @ soft, atol=1e-6)


@pytest.mark.parametrize(("batch", "size"), [(4, 256), (5, 256), (4, 255), (4, (256, 255)), (4, (255, 256))])
def test_plans_are_of_the_batchs_and_the_images_size(table: TileTable, batch: int, size: Any) -> None:
    plans = PlanSource(make_mixer("CutMix"), tile_size=size, batch_size=batch)
    if (batch, size) == (4, 256):
        TileSource(table, batch_size=4, plans=plans).close()
        with pytest.raises(ArgumentError, match="drop_last=True"):
            TileSource(table, batch_size=4, plans=plans, drop_last=False)
    else:
        with pytest.raises(ArgumentError, match=r"a batch has 4 of \(256, 256\)"):
            TileSource(table, batch_size=4, plans=plans)


def test_samples_are_blocks_of_the_first_slides(table: TileTable) -> None:
    source = TileSource(table, batch_size=4)
    found = source.samples()
    assert set(found) == set(source.kinds)
    assert sum(len(streams) for streams in found.values()) == len(table)
    source.close()


@pytest.mark.parametrize(
    ("given", "pipelines", "seed"), [(None, None, 0), (None, -1, 0), (None, 0, 0), (None, 5, 5), (7, 5, 7), (0, 5, 0)]
)
def test_the_seed_is_the_one_that_is_given_or_the_pipelines(
    given: int | None, pipelines: int | None, seed: int
) -> None:
    assert _seed(given, SimpleNamespace(seed=pipelines)) == seed


def test_digests_of_a_source_change_with_every_column_and_with_the_order() -> None:
    """A state of another table, or of another order, is told by them."""

    def digests(order: dict[str, Any], **changed: Any) -> dict[str, Any]:
        columns: dict[str, Any] = {"x": range(8), "y": range(8), "size": [9] * 8, "level": [0] * 8, "label": [0] * 8}
        table = TileTable.from_columns(["a.svs"] * 7 + ["b.svs"], **columns | changed)
        source = SimpleNamespace(table=table, order=EpochOrder(8, **{"batch_size": 2, "seed": 3} | order))
        return TileSource._digests.func(source)  # type: ignore[attr-defined,no-any-return]

    plain = digests({})
    for name, value in (("x", 9), ("y", 9), ("size", 8), ("level", 1), ("label", 1)):
        first = [0] * 8 if name in ("level", "label") else [9] * 8 if name == "size" else [*range(8)]
        other = digests({}, **{name: [*first[:-1], value]})
        assert other["order"] == plain["order"]
        assert other["table"] != plain["table"], name
    assert digests({"seed": 4})["order"] != plain["order"]
    assert digests({"seed": 4})["table"] == plain["table"]
    assert digests({"rank": 1, "world_size": 2}) == digests({"rank": 0, "world_size": 2})


@pytest.mark.parametrize(("size", "batch", "ranks"), [(12, 2, 3), (13, 3, 2), (12, 4, 1)])
def test_an_iteration_of_all_ranks_is_that_of_each_after_the_other(size: int, batch: int, ranks: int) -> None:
    orders = [EpochOrder(size, batch, seed=5, rank=rank, world_size=ranks) for rank in range(ranks)]
    for epoch in (0, 2):
        for iteration in range(len(orders[0])):
            want = np.concatenate([order.batch(epoch, iteration) for order in orders])
            for order in orders:
                np.testing.assert_array_equal(order.of_all_ranks(epoch, iteration), want)
