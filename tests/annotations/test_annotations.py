"""QuPath annotations: what is read, and which tiles get which label."""

from __future__ import annotations

import json

import numpy as np
import pytest
import shapely

from cellmix_dali.annotations.geojson import Annotations, read_geojson
from cellmix_dali.errors import ArgumentError

SQUARE = [[[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]]
HOLE = [[25, 25], [75, 25], [75, 75], [25, 75], [25, 25]]


def feature(coordinates, name="Tumor", kind="Polygon", **properties):
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def write(tmp_path, content):
    path = tmp_path / "slide.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def regions(**boxes):
    """Annotations of boxes: name=[(left, top, right, bottom), ...]."""
    pairs = [(name, shapely.box(*box)) for name, several in boxes.items() for box in several]
    return Annotations(tuple(box for _, box in pairs), tuple(name for name, _ in pairs))


@pytest.mark.parametrize("wrap", [lambda f: {"type": "FeatureCollection", "features": [f]}, lambda f: [f], lambda f: f])
@pytest.mark.parametrize("classification", [{"name": "Tumor", "color": [200, 0, 0]}, "Tumor"])
def test_forms_of_geojson(tmp_path, wrap, classification):
    one = feature(SQUARE, None, objectType="annotation", classification=classification)
    annotations = read_geojson(write(tmp_path, wrap(one)))
    assert annotations.names == ("Tumor",)
    assert annotations.polygons[0].equals(shapely.box(0, 0, 100, 100))


def test_holes_and_multipolygons(tmp_path):
    far = [[[200, 0], [300, 0], [300, 100], [200, 100], [200, 0]]]
    content = [feature([*SQUARE, HOLE]), feature([SQUARE, far], "Stroma", "MultiPolygon")]
    annotations = read_geojson(write(tmp_path, content))
    assert annotations.names == ("Tumor", "Stroma")
    assert [polygon.area for polygon in annotations.polygons] == [7500, 20000]
    assert annotations.label_tiles([30, 0], [30, 0], 40, 20, ["Tumor"]).tolist() == [-1, 0]


def test_bow_tie_is_repaired(tmp_path):
    bow_tie = [[[0, 0], [100, 100], [100, 0], [0, 100], [0, 0]]]
    (polygon,) = read_geojson(write(tmp_path, [feature(bow_tie)])).polygons
    assert polygon.is_valid
    assert polygon.area == pytest.approx(5000)


def test_dangling_line_of_a_repaired_outline_goes(tmp_path):
    spike = [[[0, 0], [100, 0], [100, 100], [100, 300], [100, 100], [0, 100], [0, 0]]]
    (polygon,) = read_geojson(write(tmp_path, [feature(spike)])).polygons
    assert polygon.geom_type == "Polygon"
    assert polygon.bounds == (0, 0, 100, 100)


def test_features_without_class_or_area_are_left_aside(tmp_path):
    content = [
        feature(SQUARE, None),
        feature([5, 5], "Tumor", "Point"),
        {"type": "Feature", "geometry": None, "properties": {"classification": "Tumor"}},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": SQUARE}, "properties": None},
        feature(SQUARE, "Stroma"),
    ]
    assert read_geojson(write(tmp_path, content)).names == ("Stroma",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<xml>", "not JSON"),
        ("[1, 2]", "FeatureCollection"),
        ('{"type": "Topology"}', "FeatureCollection"),
        ('{"type": "FeatureCollection"}', "FeatureCollection"),
        (json.dumps([feature([[[0, 0], [1]]])]), r"feature 0 \(Tumor\)"),
        (json.dumps([feature("nonsense")]), r"feature 0 \(Tumor\)"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ArgumentError, match=message) as caught:
        read_geojson(path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(ArgumentError, match=r"no file at .*none\.geojson"):
        read_geojson(tmp_path / "none.geojson")


def test_the_greatest_share_wins():
    annotations = regions(a=[(0, 0, 60, 100)], b=[(60, 0, 200, 100)])
    x = np.array([0, 50, 20, 300])
    labels = annotations.label_tiles(x, np.zeros(4), 100, 100, ["a", "b"], min_share=0.3)
    assert labels.dtype == np.int32
    assert labels.tolist() == [0, 1, 1, -1]
    assert annotations.label_tiles(x, 0, 100, 100, ["b", "a"], min_share=0.3).tolist() == [1, 0, 0, -1]


def test_ties_go_to_the_first_class():
    annotations = regions(a=[(0, 0, 50, 100)], b=[(50, 0, 100, 100)])
    assert annotations.label_tiles([0], [0], 100, 100, ["a", "b"]).tolist() == [0]
    assert annotations.label_tiles([0], [0], 100, 100, ["b", "a"]).tolist() == [0]
    thirds = Annotations((shapely.box(0, 0, 1 / 3, 1), shapely.box(2 / 3, 0, 1, 1)), ("a", "b"))
    for classes in (["a", "b"], ["b", "a"]):
        assert thirds.label_tiles([0], [0], 1, 1, classes, min_share=1 / 3).tolist() == [0]


def test_min_share_is_inclusive():
    annotations = regions(a=[(0, 0, 70, 100)])
    for share, label in ((0.7, 0), (0.71, -1)):
        assert annotations.label_tiles([0], [0], [100], [100], ["a"], min_share=share).tolist() == [label]


def test_overlapping_polygons_of_a_class_count_once():
    annotations = regions(a=[(0, 0, 40, 100), (0, 0, 40, 100)], b=[(50, 0, 95, 100)])
    assert annotations.label_tiles([0], [0], 100, 100, ["a", "b"], min_share=0.1).tolist() == [1]
    assert annotations.label_tiles([0], [0], 100, 100, ["a"]).tolist() == [-1]


def test_tiles_of_many_sizes():
    annotations = regions(a=[(0, 0, 100, 50)])
    labels = annotations.label_tiles([0, 0, 0], [0, 0, 40], [10, 100, 10], [10, 101, 20], ["a"])
    assert labels.tolist() == [0, -1, 0]


def test_classes_that_are_not_there():
    annotations = regions(Tumor=[(0, 0, 9, 9)], Stroma=[(9, 9, 20, 20)])
    with pytest.raises(ArgumentError, match=r"'tumour'.*Did you mean 'Tumor'\?.*Allowed: Stroma, Tumor"):
        annotations.label_tiles([0], [0], 9, 9, ["necrosis", "tumour"])
    with pytest.raises(ArgumentError, match="no classified polygon"):
        Annotations((), ()).label_tiles([0], [0], 9, 9, ["Tumor"])
    # One of them is enough: a slide need not show every class.
    assert annotations.label_tiles([0], [0], 9, 9, ["Necrosis", "Tumor"]).tolist() == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_share": 0.0}, "min_share 0.0"),
        ({"min_share": 1.1}, "min_share 1.1"),
        ({"classes": "a"}, "classes 'a'"),
        ({"classes": ["a", "a"]}, "different class names"),
        ({"classes": []}, r"classes \[\]"),
        ({"width": 0}, "not above 0"),
        ({"x": [[0]]}, r"shape \(1, 1\)"),
    ],
)
def test_bad_arguments(change, message):
    given = {"x": [0], "y": [0], "width": 9, "height": 9, "classes": ["a"]} | change
    with pytest.raises(ArgumentError, match=message):
        regions(a=[(0, 0, 9, 9)]).label_tiles(**given)


def test_one_name_a_polygon():
    with pytest.raises(ArgumentError, match="1 polygons and 2 names"):
        Annotations((shapely.box(0, 0, 1, 1),), ("a", "b"))


def test_no_tiles():
    assert regions(a=[(0, 0, 9, 9)]).label_tiles([], [], 9, 9, ["a"]).shape == (0,)


def test_long_outlines_agree_with_plain_areas():
    angle = np.linspace(0, 2 * np.pi, 20000, endpoint=False)
    radius = 9000 + 2500 * np.sin(9 * angle) + 30 * np.sin(3000 * angle)
    star = shapely.Polygon(np.stack([10000 + radius * np.cos(angle), 10000 + radius * np.sin(angle)], 1))
    ring = star - shapely.Point(10000, 10000).buffer(2000)
    y, x = (v.ravel() * 80.0 for v in np.mgrid[:250, :250])
    labels = Annotations((ring,), ("a",)).label_tiles(x, y, 80, 80, ["a"])
    some = np.random.default_rng(0).choice(len(x), 400, replace=False)
    tiles = shapely.box(x[some], y[some], x[some] + 80, y[some] + 80)
    expected = np.where(shapely.area(shapely.intersection(ring, tiles)) >= 0.5 * 80 * 80, 0, -1)
    assert labels[some].tolist() == expected.tolist()
    assert set(expected) == {0, -1}
