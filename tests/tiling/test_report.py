"""The report of a tiling job: figures that add up, a page that holds all and fetches nothing, whatever the names."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cellmix_dali.storage.aside import WriteError
from cellmix_dali.tiling.report import JobReport, SlideResult, Timing, write_report

NASTY = "<script>alert(\"1\")<b> &amp; 'Präparat' Ω 病理"
VOID = {"meta", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """What a page shows: tags with their attributes, text, and whether the tags nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.rows, self.ids = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if "id" in dict(attrs):
            self.ids.append(dict(attrs)["id"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data.strip())
            if "td" in self.open or "th" in self.open:
                self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(word for word in self.words if word)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def done(name="a.svs", **change):
    given = {
        "slide": f"/data/{name}", "status": "done", "tiles": 12_345, "tiles_copied": 12_000, "tiles_encoded": 345,
        "bytes": 150_000_000, "mpp": 0.499, "level": 0, "window": 240, "tile_size": 224, "route": "direct",
        "shards": ("a-0.tar", "a-1.tar"), "tissue_mm2": 2.5, "seconds": 3.25,
    }  # fmt: skip
    return SlideResult(**(given | change))


def failed(name="b.svs", reason="it is garbage"):
    return SlideResult(slide=f"/data/{name}", status="failed", reason=reason, seconds=0.5)


def job(*slides, **timing):
    when = {"started": "2030-01-02T03:04:05+00:00", "seconds": 100.0, "workers": 4} | timing
    return JobReport(
        settings={"tile_size": 224, "mpp": 0.5, "level": None, "classes": ["tumour", "<b>"], "coords_only": False},
        slides=slides,
        timing=Timing(**when),
        versions={"cellmix_dali": "0.1.0"},
    )


def written(folder, report):
    write_report(folder, report)
    return json.loads((folder / "report.json").read_text("utf-8")), Page((folder / "report.html").read_text("utf-8"))


def overview(folder, name, size=(800, 500), colour=(200, 30, 30)):
    (folder / "overviews").mkdir(exist_ok=True)
    Image.new("RGB", size, colour).save(folder / "overviews" / name, "JPEG")
    return f"overviews/{name}"


def pictures(page):
    found = []
    for image in page.all("img"):
        head, data = image["src"].split(",")
        assert head == "data:image/jpeg;base64"
        found.append(Image.open(BytesIO(base64.b64decode(data))))
    return found


def test_the_totals_add_up(tmp_path):
    content, page = written(
        tmp_path,
        job(
            done(),
            failed(),
            done("c.svs", tiles=5, tiles_copied=0, tiles_encoded=5, bytes=100, bad_tiles=2, tissue_mm2=None),
            done("d.svs", tiles=0, tiles_copied=0, tiles_encoded=0, bytes=0, shards=(), reason="no tissue"),
        ),
    )
    assert content["totals"] == {
        "slides": 4, "done": 3, "failed": 1, "not_read": 0, "without_tiles": 1, "with_bad_tiles": 1,
        "tiles": 12_350, "bad_tiles": 2, "unread_tiles": 0, "tiles_copied": 12_000, "tiles_encoded": 350,
        "bytes": 150_000_100, "shards": 2, "tissue_mm2": 5.0,
    }  # fmt: skip
    assert content["timing"]["tiles_per_second"] == 123.5
    for words in ("12,350", "12,000 copied · 350 encoded", "150.0 MB", "1 min 40 s", "123.5 tiles/s", "5 mm²"):
        assert words in page.text


def test_what_differs_from_run_to_run_is_under_timing(tmp_path):
    one, _ = written(tmp_path, job(done(), failed()))
    other = job(done(seconds=99.0), failed(), started="2031-01-01", seconds=1.5, workers=1, resumed_slides=1, tiles=9)
    two, page = written(tmp_path, other)
    assert one.pop("timing") == {
        "started": "2030-01-02T03:04:05+00:00", "seconds": 100.0, "workers": 4, "resumed_slides": 0, "tiles": None,
        "tiles_per_second": 123.5, "slides": {"/data/a.svs": 3.25, "/data/b.svs": 0.5},
    }  # fmt: skip
    assert two.pop("timing")["tiles_per_second"] == 6.0  # of the tiles that this run made
    assert one == two
    assert "1 slide done by an earlier run" in page.text


def test_every_field_of_a_slide_is_in_the_json(tmp_path):
    content, _ = written(tmp_path, job(done(bad_tiles=1, bad_tile_reasons=("x 3: torn",))))
    expected = dataclasses.asdict(done(bad_tiles=1, bad_tile_reasons=("x 3: torn",)))
    del expected["seconds"]
    expected = json.loads(json.dumps(expected))
    assert content["slides"] == [expected]
    # What is read back makes the same result.
    assert SlideResult(**content["slides"][0], seconds=3.25).tiles == 12_345
    assert content["settings"]["classes"] == ["tumour", "<b>"]
    assert content["versions"] == {"cellmix_dali": "0.1.0"}


def test_failures_come_first_with_their_reasons(tmp_path):
    _, page = written(tmp_path, job(done("a.svs"), failed("b.svs", "it is garbage & <torn>"), done("c.svs")))
    assert page.rows[0] == ["Slide", "Reason"]
    assert page.rows[1] == ["b.svs", "it is garbage & <torn>"]
    assert [row[0] for row in page.rows[3:]] == ["b.svs", "a.svs", "c.svs"]
    assert page.rows[4][1:] == [
        "done", "12,345", "0", "12,000", "345", "150.0 MB", "0.499", "0", "240 → 224", "direct", "2.5 mm²", "2",
        "3.2 s",
    ]  # fmt: skip
    # The rows keep the order of the job in the JSON.
    content = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert [slide["slide"] for slide in content["slides"]] == ["/data/a.svs", "/data/b.svs", "/data/c.svs"]


def test_bad_tiles_are_told(tmp_path):
    reasons = ("level 0, x 0, y 240: the stream ends early", "level 0, x 480, y 0: no JPEG <starts> here")
    _, page = written(tmp_path, job(done("a.svs", bad_tiles=7, bad_tile_reasons=reasons), done("b.svs")))
    assert page.rows[1] == ["a.svs", "7", f"{reasons[0]}{reasons[1]}and 5 more"]
    assert page.rows[3][1] == "bad tiles"
    assert page.rows[4][1] == "done"


def test_a_clean_job_has_no_tables_of_trouble(tmp_path):
    _, page = written(tmp_path, job(done()))
    assert len(page.rows) == 2
    assert "failed" not in page.text.replace("Slides failed", "")
    assert not page.all("img")


def test_no_slides_at_all(tmp_path):
    content, page = written(tmp_path, job(seconds=0.0))
    assert content["totals"]["tiles"] == 0
    assert content["totals"]["tissue_mm2"] is None
    assert content["timing"]["tiles_per_second"] is None
    assert "Tiling report" in page.text


def test_names_and_reasons_are_text_and_never_markup(tmp_path):
    path = overview(tmp_path, "0 & 100%?#ä.jpg")
    content, page = written(
        tmp_path,
        job(
            done(f"{NASTY}.svs", overview=path, reason=NASTY, bad_tiles=1, bad_tile_reasons=(NASTY,)),
            failed(f"x{NASTY}", NASTY),
        ),
    )
    assert not page.all("script")
    assert not page.all("b")
    assert content["slides"][0]["slide"] == f"/data/{NASTY}.svs"
    assert page.text.count(NASTY) == 8
    titles = {cell["title"] for cell in page.all("td") if "title" in cell}
    assert titles == {f"/data/{NASTY}.svs", f"/data/x{NASTY}"}
    links = [link["href"] for link in page.all("a")]
    assert links == ["#slide-1", "overviews/0%20%26%20100%25%3F%23%C3%A4.jpg"]
    assert page.ids == ["slide-1"]
    assert page.all("img")[0]["alt"] == f"Overview of {NASTY}.svs"


def test_names_that_are_no_text_do_not_stop_the_report(tmp_path):
    name = "/data/\udcff.svs"  # as Python shows a file name that is not UTF-8
    content, page = written(tmp_path, job(done(slide=name, overview="overviews/\udcff.jpg")))
    assert content["slides"][0]["slide"] == name
    assert page.rows[1][0] == "?.svs"


def test_slides_of_one_name_are_told_apart(tmp_path):
    _, page = written(tmp_path, job(done(slide="/x/a.svs"), done(slide="/y/a.svs"), done(slide="/x/b.svs")))
    assert [row[0] for row in page.rows[1:]] == ["/x/a.svs", "/y/a.svs", "b.svs"]


def test_the_page_is_whole_and_fetches_nothing(tmp_path):
    slides = [done(f"{n}.svs", overview=overview(tmp_path, f"{n}.jpg", (800, 500), (n * 60, 90, 30))) for n in range(3)]
    write_report(tmp_path, job(*slides, failed()))
    text = (tmp_path / "report.html").read_text("utf-8")
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert not page.all("script")
    assert not page.all("link")
    assert "@import" not in text
    assert "url(" not in text
    assert not re.search(r"https?://", text)
    assert all(image["loading"] == "lazy" and image["alt"] for image in page.all("img"))
    found = pictures(page)
    assert [picture.size for picture in found] == [(640, 400)] * 3
    for number, picture in enumerate(found):
        assert np.abs(np.asarray(picture)[200, 300].astype(int) - (number * 60, 90, 30)).max() < 5
    # Every link within the page leads somewhere.
    inside = [link["href"][1:] for link in page.all("a") if link["href"].startswith("#")]
    assert sorted(inside) == sorted(page.ids)


def test_a_picture_that_is_missing_or_torn_is_left_out(tmp_path):
    path = overview(tmp_path, "torn.jpg")
    (tmp_path / path).write_bytes((tmp_path / path).read_bytes()[:300])
    _, page = written(tmp_path, job(done("a.svs", overview=path), done("b.svs", overview="overviews/none.jpg")))
    assert not page.all("img")
    assert page.text.count("Open the picture") == 2


@pytest.mark.slow
def test_thousands_of_slides_make_pages_of_limited_size(tmp_path):
    path = overview(tmp_path, "a.jpg")
    slides = [failed(f"f{n}.svs") for n in range(1200)]
    slides += [done(f"{n}.svs", overview=path, bad_tiles=1, bad_tile_reasons=("torn",)) for n in range(1050)]
    _, first = written(tmp_path, job(*reversed(slides)))
    files = [tmp_path / "report.html", *(tmp_path / "report" / f"{number}.html" for number in range(2, 13))]
    assert sorted((tmp_path / "report").iterdir()) == sorted(files[1:])
    assert all(file.stat().st_size < 500_000 for file in files)
    pages = [Page(file.read_text("utf-8")) for file in files]

    assert len(first.rows) == (1 + 1000) + (1 + 1000) + (1 + 200)  # failures, bad tiles, the first slides
    assert "and 200 more: see report.json" in first.text
    assert "and 50 more slides: see bad_tiles.jsonl" in first.text
    assert "Settings" in first.text
    for page in pages[1:]:
        assert "Settings" not in page.text
        assert "Slides done" not in page.text
    names = [row[0] for page in pages for row in page.rows[-200 if page is not pages[-1] else -50 :]]
    assert names == [of.slide.removeprefix("/data/") for of in (*slides[1199::-1], *slides[:1199:-1])]

    # Pictures are the files themselves, and every link leads somewhere.
    assert sum(len(page.all("img")) for page in pages) == 1050
    for number, (file, page) in enumerate(zip(files, pages, strict=True)):
        assert all(image["loading"] == "lazy" for image in page.all("img"))
        for place in [of["src"] for of in page.all("img")] + [of["href"] for of in page.all("a")]:
            target, _, inside = place.partition("#")
            assert inside in ("", *page.ids)
            assert not target or (file.parent / target).is_file()
        contents = [of["href"] for of in page.all("a") if of["href"].endswith(".html")]
        assert len(contents) == 11 + (number > 0) + (number < 11)

    write_report(tmp_path, job(*slides[-201:]))
    assert [file.name for file in (tmp_path / "report").iterdir()] == ["2.html"]
    write_report(tmp_path, job(*slides[-200:]))
    assert not (tmp_path / "report").exists()


def test_pictures_of_few_slides_stand_in_the_page(tmp_path):
    path = overview(tmp_path, "a.jpg")
    for count, inside in ((60, True), (61, False)):
        _, page = written(tmp_path, job(*(done(f"{n}.svs", overview=path) for n in range(count)), failed()))
        found = page.all("img")
        assert len(found) == count
        assert {of["src"].startswith("data:") for of in found} == {inside}
        if not inside:
            assert {of["src"] for of in found} == {path}


def test_a_report_replaces_the_last_one_or_leaves_it(tmp_path):
    write_report(tmp_path, job(done()))
    write_report(tmp_path, job(done("z.svs")))
    assert "z.svs" in (tmp_path / "report.html").read_text("utf-8")
    before = (tmp_path / "report.json").read_bytes()
    with pytest.raises(ValueError):
        write_report(tmp_path, job(done(mpp=float("nan"))))
    assert (tmp_path / "report.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    with pytest.raises(WriteError, match="report"):
        write_report(tmp_path / "none", job(done()))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (61, "1 min 01 s"), (3599.7, "1 h 00 min"), (7265, "2 h 01 min")],
)
def test_times(seconds, shown, tmp_path):
    _, page = written(tmp_path, job(done(), seconds=seconds))
    assert f"{shown} " in page.text
