"""Lists in messages are cut after so many: all are told where they fit, and how many more where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellmix_dali.errors import ArgumentError, SlideError, some_of, unknown_name
from cellmix_dali.slides.scales import true_scales
from cellmix_dali.storage.foreign_files import _words
from cellmix_dali.storage.paths import path_problem
from cellmix_dali.tables import read_slide_list
from cellmix_dali.tables.one_resolution import check_one_resolution, mixed_resolutions
from cellmix_dali.tables.split_columns import check_apart


def names(count: int) -> list[str]:
    return [f"{number}.svs" for number in range(count)]


@pytest.mark.parametrize(("count", "more"), [(1, ""), (5, ""), (6, " and 1 more"), (8, " and 3 more")])
def test_slides_of_a_list_that_are_not_there(tmp_path: Path, count: int, more: str) -> None:
    (tmp_path / "there.svs").write_bytes(b"x")
    path = tmp_path / "slides.csv"
    path.write_text("slide\nthere.svs\n" + "\n".join(names(count)))
    with pytest.raises(SlideError) as told:
        read_slide_list(path)
    shown = ", ".join(str(tmp_path / name) for name in names(count)[:5])
    assert f"{count} of the {count + 1} slides in {path} are not there: {shown}{more}. Correct" in str(told.value)


def test_slides_and_mpps_of_several_resolutions() -> None:
    for count, more in ((5, ""), (6, " and 1 more"), (7, " and 2 more")):
        told = mixed_resolutions([*names(count), "b.svs"], [0.25] * count + [0.5])
        assert told == f"0.25: {', '.join(names(count)[:5])}{more}; 0.5: b.svs"
    for count, last in ((6, "32: 5.svs"), (7, "and 1 more mpps, up to 64"), (8, "and 2 more mpps, up to 128")):
        told = mixed_resolutions(names(count), [float(2**number) for number in range(count)])
        assert told is not None
        assert told.split("; ")[-1] == last
        assert len(told.split("; ")) == min(count, 6) + (count > 6)


def test_mpps_are_one_up_to_five_per_cent() -> None:
    assert mixed_resolutions(names(2), [1.0, 1.05]) is None
    assert mixed_resolutions(names(2), [1.0, 1.0501]) is not None
    assert mixed_resolutions(names(3), [1.0, 1.04, 1.08]) == "1: 0.svs, 1.svs; 1.08: 2.svs"
    assert mixed_resolutions(names(2), [None, float("nan")]) is None
    assert mixed_resolutions(names(3), [None, 0.5, 0.5]) == "0.5: 1.svs, 2.svs; unknown: 0.svs"


def test_the_resolution_that_all_can_give_is_the_coarsest_rounded_up() -> None:
    for mpps, words in (
        ([0.25, 0.5], "of different scale .*--mpp 0.5 .*is one that all can give; or"),
        ([0.25, 0.501], "--mpp 0.51 "),
        ([0.25, 0.4999], "--mpp 0.5 "),
        ([0.25, None], "a scale that is not known .*--mpp 0.25 .*can give whose mpp is known; say the unknown"),
    ):
        with pytest.raises(ArgumentError, match=words):
            check_one_resolution(names(2), mpps)  # type: ignore[arg-type]
    check_one_resolution(names(2), [0.25, 0.25])


def test_names_of_a_split() -> None:
    assert some_of(names(5)) == "0.svs, 1.svs, 2.svs, 3.svs, 4.svs"
    assert some_of(names(6)) == "0.svs, 1.svs, 2.svs, 3.svs, 4.svs and 1 more"


def test_patients_on_two_sides() -> None:
    for torn, more in ((1, "[.] What is learned"), (2, "[.] So do 1 more[.] What"), (3, "[.] So do 2 more[.]")):
        patients = [*"abc"[:torn], *"abc"[:torn], "d"]
        sides = ["train"] * torn + ["test"] * torn + ["train"]
        with pytest.raises(ArgumentError, match=f"'a' lies on two sides .*in 0, and 'test' in {torn}{more}"):
            check_apart(patients, sides, "split", str)
    check_apart(["a", "a", "b"], ["train", "train", "test"], "split", str)


def test_scales_that_a_padded_level_may_have() -> None:
    """Four are named."""
    levels, notes = true_scales([(9000, 64), (64, 64)], [(64, 64), (64, 64)], [1.0, 70.0])
    assert len(levels) == 1
    assert len(notes) == 1
    told = notes[0].rpartition("its scale may be ")[2]
    assert not told or len(told.split(" or ")) <= 4


def test_what_a_reader_said_is_cut_after_300_letters() -> None:
    assert _words(ValueError("a  b\nc")) == "a b c"
    assert _words(ValueError()) == "ValueError"
    assert _words(ValueError("x" * 300)) == "x" * 300
    assert _words(ValueError("x" * 301)) == "x" * 300 + " ..."


@pytest.mark.parametrize(
    ("name", "strange"),
    [(b"\x80", True), (b"\xff", True), (b"\xc3\xa4", False), (b"\\x", True), ("\ue000".encode(), False), (b"a", False)],
)
def test_names_that_are_not_utf_8(tmp_path: Path, name: bytes, strange: bool) -> None:
    import os

    told = path_problem(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    assert (told is not None and "not UTF-8" in told) == strange


def test_near_names_are_offered_and_else_all() -> None:
    assert "Did you mean 'train'?" in str(unknown_name("split", "trian", ("train", "val", "test")))
    assert "Allowed: train, val, test" in str(unknown_name("split", "xyz", ("train", "val", "test")))
