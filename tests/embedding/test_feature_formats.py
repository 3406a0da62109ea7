"""Formats of features: what each file holds, one of one's own, and what is refused."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_ins import patches

from cellmix_dali import TileRecipe
from cellmix_dali.embedding import (
    FeatureBags,
    FeatureFile,
    FeatureFormat,
    FeatureModel,
    ModelSettings,
    embed_slides,
    read_features,
    register_feature_format,
)
from cellmix_dali.embedding.files import files_of, name_of, read_attributes, write_features
from cellmix_dali.embedding.formats import FORMATS
from cellmix_dali.errors import ArgumentError, MissingDependencyError
from cellmix_dali.synthetic import RenderedSlide

TOLD = {"patch_size": 64, "patch_size_level0": 128, "level0_width": 1000, "level0_height": 800, "name": "a.b"}


@pytest.fixture(params=["float32", "float16"])
def made(request: pytest.FixtureRequest) -> FeatureFile:
    """More tiles than fit in a chunk."""
    random = np.random.default_rng(4)
    features = random.normal(size=(1500, 7)).astype(request.param)
    return FeatureFile("a.b", features, random.integers(0, 10**6, (1500, 2)), TOLD)


@pytest.mark.parametrize("kind", ["trident", "clam", "parquet", "zarr"])
def test_what_is_written_is_read_and_the_bytes_are_always_the_same(
    made: FeatureFile, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "zarr":
        pytest.importorskip("zarr")  # there is none for Python 3.10
    (tmp_path / "x").mkdir()
    first = write_features(tmp_path / "x", kind, made)
    assert first == files_of(tmp_path / "x", kind, "a.b")
    features, coords = read_features(first[0])
    np.testing.assert_array_equal(features, made.features)
    np.testing.assert_array_equal(coords, made.coords)
    assert coords.dtype == np.int64
    assert features.dtype == (np.float32 if kind == "clam" else made.features.dtype)
    assert name_of(first[0]) == "a.b"
    (tmp_path / "y").mkdir()
    monkeypatch.setattr("time.time", lambda: 10**9)
    again = write_features(tmp_path / "y", kind, made)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in first]
    assert FeatureBags(tmp_path / "x").names == ("a.b",)
    if kind == "clam":
        with pytest.raises(ArgumentError, match="does not say patch_size_level0"):
            read_attributes(first[0])
    else:
        assert {name: read_attributes(first[0])[name] for name in TOLD} == TOLD


def test_zarr_itself_opens_it(made: FeatureFile, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    (path,) = write_features(tmp_path, "zarr", made)
    with zarr.storage.ZipStore(path, mode="r") as store:
        group = zarr.open_group(store, mode="r")
        assert (group["features"].dtype, group["coords"].dtype) == (made.features.dtype, np.int64)
        assert group["features"].chunks == (1024, 7)
        assert dict(group.attrs) == TOLD
        np.testing.assert_array_equal(group["features"][1000:1030], made.features[1000:1030])


def test_a_job_writes_zarr(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    slide, recipe = rendered[0].path, TileRecipe(256, tissue=0.0, level=0)
    for kind in ("trident", "zarr"):
        model = FeatureModel(patches(), settings=ModelSettings(deterministic=True))
        result = embed_slides([slide], tmp_path / kind, model, recipe, file_format=kind)
        assert not result.failed
    features, coords = read_features(tmp_path / "zarr" / f"{slide.stem}.zarr.zip")
    expected = read_features(tmp_path / "trident" / f"{slide.stem}.h5")
    np.testing.assert_array_equal(features, expected[0])
    np.testing.assert_array_equal(coords, expected[1])


def test_zarr_is_asked_for_where_it_is_missing(
    rendered: list[RenderedSlide], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingDependencyError, match="pip install 'zarr>=3'"):
        embed_slides([rendered[0].path], tmp_path / "out", FeatureModel(patches()), file_format="zarr")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["parquet", "zarr"])
def test_other_files_are_refused(tmp_path: Path, kind: str) -> None:
    (path,) = files_of(tmp_path, kind, "a")
    path.write_bytes(b"nothing")
    for read in (read_features, read_attributes):
        with pytest.raises(ArgumentError, match=r"The file of features .*a\..* cannot be read"):
            read(path)


class OfOnesOwn(FeatureFormat):
    """NumPy's own: places and features side by side."""

    places = ("{}.npy",)

    def content(self, of: FeatureFile) -> tuple[bytes, ...]:
        file = BytesIO()
        np.save(file, np.concatenate([of.coords.astype(float), of.features], axis=1))
        return (file.getvalue(),)

    def read(self, path: Path) -> tuple[Any, Any]:
        whole = np.load(path)
        return whole[:, 2:], whole[:, :2]

    def attributes(self, path: Path) -> dict[str, Any]:  # noqa: ARG002
        return {}


def test_a_format_of_ones_own(made: FeatureFile, tmp_path: Path) -> None:
    register_feature_format("numpy-of-a-test")(OfOnesOwn)
    try:
        (path,) = write_features(tmp_path, FORMATS.canonical("NumPy of a test".replace(" ", "-")), made)
        np.testing.assert_array_equal(read_features(path)[0], made.features)
        assert FeatureBags(tmp_path).names == ("a.b",)
        with pytest.raises(ArgumentError, match="does not say patch_size_level0"):
            read_attributes(path)
        with pytest.raises(ArgumentError, match="There is a format of features 'Numpy_of_a_test' already"):
            register_feature_format("Numpy_of_a_test")(OfOnesOwn)
    finally:
        del FORMATS["numpy-of-a-test"]
    with pytest.raises(ArgumentError, match="places, content, read and attributes"):
        register_feature_format("other")(FeatureFormat)
    with pytest.raises(ArgumentError, match=r"'parqet'.*Did you mean 'parquet'"):
        FORMATS.canonical("parqet")
