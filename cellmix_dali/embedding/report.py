"""What an embedding job did: ``report.json`` for programs, ``report.html`` for people."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ..jobs.report_pages import listed, write_pages
from ..storage.aside import write_aside
from .outcome import EmbedResult

__all__ = ["BAD_TILES", "write_reports"]

_OF_RECORD = ("tiles", "width", "mpp", "level", "window", "picture")
BAD_TILES, REPORT, PAGE = "bad_tiles.jsonl", "report.json", "report.html"


def write_reports(result: EmbedResult, asked: dict[str, Any]) -> None:
    """Write the reports, and a line for each tile that was left out, into the job's folder.

    Parameters
    ----------
    result : EmbedResult
    asked : dict
        What was asked for, as JSON values.

    Raises
    ------
    WriteError
        If a file cannot be written.
    """
    folder = result.report
    with write_aside(folder / BAD_TILES) as file:
        for outcome in result.slides:
            for tile in outcome.record.bad if outcome.record is not None else ():
                line = {"slide": outcome.slide, **vars(tile)}
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    report = _report(result, asked)
    with write_aside(folder / REPORT) as file:
        file.write(json.dumps(report, indent=2, ensure_ascii=False).encode() + b"\n")
    write_pages(folder, __package__, listed(report["slides"]), lambda *_: report, {})


def _report(result: EmbedResult, asked: dict[str, Any]) -> dict[str, Any]:
    """The report as JSON values; what differs from run to run stands under ``timing``."""
    slides = []
    for outcome in result.slides:
        told: dict[str, Any] = {"slide": outcome.slide, "status": outcome.status, "reason": outcome.reason}
        told |= {"bad_tiles": 0, "files": [], **dict.fromkeys(_OF_RECORD)}
        if outcome.record is not None:
            record = asdict(outcome.record)
            told |= {name: record[name] for name in _OF_RECORD}
            told |= {"bad_tiles": len(record["bad"]), "files": [file["path"] for file in record["files"]]}
        slides.append(told)
    return {
        "totals": {
            "slides": len(slides),
            "failed": len(result.failed),
            "tiles": result.tiles,
            "bad_tiles": result.bad_tiles,
        },
        "notes": list(result.notes),
        "settings": asked,
        "slides": slides,
        "timing": {
            "seconds": round(result.seconds, 3),
            "waited": round(result.waited, 3),
            "computed": round(result.computed, 3),
            "busy": None if result.busy is None else round(result.busy, 4),
            "tiles": result.tiles_now,
            "slides": {
                outcome.slide: round(outcome.record.seconds, 3)
                for outcome in result.slides
                if outcome.record is not None
            },
        },
    }
