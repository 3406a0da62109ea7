"""Objects of stores that fsspec reads, here those in its own memory: as files are, and faults said in our words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cellmix_dali import open_slide, read_slide_list
from cellmix_dali._arguments import path_of
from cellmix_dali._urls import BY_FSSPEC, SCHEMES, url_of
from cellmix_dali.errors import NotReadError
from cellmix_dali.storage.mirror import attach
from cellmix_dali.storage.objects import here, here_folder
from cellmix_dali.synthetic import RenderedSlide


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFileSystem]:
    """An empty store in memory, and an empty folder for what is kept."""
    monkeypatch.setenv("CELLMIX_DALI_STORE_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("CELLMIX_DALI_STORE_SECONDS", "1")
    system = MemoryFileSystem()
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_a_slide_is_that_of_the_file(memory: MemoryFileSystem, rendered: list[RenderedSlide]) -> None:
    memory.pipe("/bucket/a folder/slide.svs", rendered[0].path.read_bytes())
    with open_slide("memory://bucket/a folder/slide.svs") as stored, open_slide(rendered[0].path) as local:
        assert stored.levels == local.levels
        place = 0, 200, 300, 400, 256
        np.testing.assert_array_equal(stored.read_region(*place), local.read_region(*place))


def test_a_folder_and_a_list_are_read(memory: MemoryFileSystem, rendered: list[RenderedSlide]) -> None:
    for slide in rendered:
        memory.pipe(f"/bucket/in/{slide.path.name}", slide.path.read_bytes())
    memory.pipe("/bucket/list.csv", f"slide,label\nin/{rendered[0].path.name},1\n".encode())
    folder = path_of("A folder", "memory://bucket/in")
    here_folder(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(slide.path.name for slide in rendered)
    (path,) = read_slide_list("memory://bucket/list.csv").slides
    assert url_of(path) == f"memory://bucket/in/{rendered[0].path.name}"


def test_another_version_is_another_object(memory: MemoryFileSystem) -> None:
    path = path_of("An object", "memory://bucket/data.bin")
    for content in (b"one" * 5000, b"two" * 5000):
        memory.pipe("/bucket/data.bin", content)
        with here(path, fresh=True):
            assert path.read_bytes() == content


@pytest.mark.usefixtures("memory")
def test_what_is_not_there_is_missing() -> None:
    with pytest.raises(FileNotFoundError, match="no such object: memory://bucket/none"):
        attach(path_of("An object", "memory://bucket/none"))


@pytest.mark.parametrize(
    ("error", "said"), [(PermissionError("key=SECRET"), "this login"), (OSError("SECRET"), "OSError")]
)
def test_faults_are_tried_again_and_their_words_kept_back(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    asked = []

    def refuse(*_: object, **__: object) -> None:
        asked.append(1)
        raise error

    memory.pipe("/bucket/data.bin", b"data")
    monkeypatch.setattr(MemoryFileSystem, "info", refuse)
    with pytest.raises(NotReadError, match=said) as caught:
        attach(path_of("An object", "memory://bucket/data.bin"))
    assert "SECRET" not in str(caught.value)
    assert (len(asked) > 2) == (said == "OSError")  # a login that is refused stays refused


def test_no_scheme_has_two_readers() -> None:
    assert not BY_FSSPEC & SCHEMES.keys()
