"""The report of an embedding job: pages of limited size, whose links lead somewhere, failures first."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cellmix_dali.embedding.outcome import EmbedResult, SlideOutcome
from cellmix_dali.embedding.records import SlideRecord
from cellmix_dali.embedding.report import write_reports


def outcome(number: int) -> SlideOutcome:
    path = f"/data/{number % 300}/{number}.svs"
    if number % 100 == 99:
        return SlideOutcome(slide=path, status="failed", reason=f"<b>broken {number}</b>")
    picture = f"maps/{number} #.png" if number % 2 else None
    record = SlideRecord(
        slide=path, name=str(number), inputs=(), files=(), tiles=1000 + number, width=8, mpp=0.5, picture=picture
    )
    return SlideOutcome(slide=path, status="done", record=record)


def report(folder: Path, count: int) -> dict[str, str]:
    """Write it; the texts of its pages, by their places in the folder."""
    result = EmbedResult(
        folder=folder.parent, report=folder, slides=tuple(map(outcome, range(count))), seconds=10.0, computed=8.0
    )
    write_reports(result, {"model": "module:model"})
    return {page.relative_to(folder).as_posix(): page.read_text("utf-8") for page in folder.rglob("*.html")}


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (200, 1), (201, 2), (1000, 5)])
def test_each_slide_is_on_one_page(count: int, pages: int, tmp_path: Path) -> None:
    texts = report(tmp_path, count)
    assert sorted(texts) == sorted(["report.html", *(f"report/{page}.html" for page in range(2, pages + 1))])
    rows = [name for text in texts.values() for name in re.findall(r"<td>(?:<a href=\"#s\d+\">)?(\d+\.svs)", text)]
    assert sorted(rows) == sorted(f"{number}.svs" for number in range(count))
    assert len(json.loads((tmp_path / "report.json").read_text())["slides"]) == count
    for name, text in texts.items():
        assert ("<h2>Settings</h2>" in text) == (name == "report.html")
        assert "<b>broken" not in text
        for link in re.findall(r'(?:href|src)="([^"#]+\.html)"', text):
            assert (tmp_path / name).parent.joinpath(link).is_file()
        for picture in re.findall(r'src="([^"]+)"', text):
            assert re.fullmatch(r"maps/\d+%20%23\.png", picture.removeprefix("../"))
            assert picture.startswith("../") == (name != "report.html")
        for place in re.findall(r'href="#(s\d+)"', text):
            assert f'<figure id="{place}">' in text


def test_failures_come_first(tmp_path: Path) -> None:
    first = report(tmp_path, 401)["report.html"]
    assert [f"{number}.svs" for number in (99, 199, 299, 399)] == re.findall(r"(\d+\.svs)</td>\s*<td>failed", first)[:4]
    assert "&lt;b&gt;broken 99&lt;/b&gt;" in first


def test_pages_of_an_earlier_report_are_removed(tmp_path: Path) -> None:
    assert len(report(tmp_path, 500)) == 3
    assert set(report(tmp_path, 10)) == {"report.html"}
    assert not (tmp_path / "report").exists()


def test_slides_of_one_name_are_told_apart(tmp_path: Path) -> None:
    slides = tuple(SlideOutcome(slide=f"/{of}/a.svs", status="failed", reason="why") for of in ("one", "two"))
    write_reports(EmbedResult(folder=tmp_path, report=tmp_path, slides=slides), {"model": "m"})
    page = (tmp_path / "report.html").read_text()
    assert "/one/a.svs" in page
    assert "/two/a.svs" in page
