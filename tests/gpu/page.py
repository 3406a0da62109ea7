"""The page of a GPU's report: docs/gpu-figures.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from questions import QUESTIONS

__all__ = ["page"]


def page(report: dict[str, Any]) -> str:
    """Make the page of what report.py found.

    Parameters
    ----------
    report : dict
        As `report.py` writes it.

    Returns
    -------
    str
        Markdown.
    """
    parts = ["# Figures of a GPU", "Written by `make gpu-report`; [gpu.md](gpu.md) says what follows from them."]
    parts.append(_where(report))
    if report["device"] != "gpu":
        parts.append(
            "**Nothing was measured on a GPU**: this is the command tried on the CPU, whose figures mean nothing."
        )
    for name, answer in report["parts"].items():
        if name in QUESTIONS:
            parts += _question(name, answer)
        elif name == "tests":
            parts += _tests(answer)
        else:
            parts += _benchmark(answer)
    return "\n\n".join(parts) + "\n"


def _where(report: dict[str, Any]) -> str:
    machine, gpu = report["machine"], report["machine"]["gpu"]
    device = gpu if isinstance(gpu, str) else f"{gpu['name']} ({gpu['memory_gib']} GiB, CUDA {gpu['cuda_of_torch']})"
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return f"{machine['date'][:10]}; GPU: {device}; {machine['cpu']}, {machine['cores']} cores. Versions: {versions}."


def _question(name: str, answer: dict[str, Any]) -> list[str]:
    asked = QUESTIONS[name]
    return [f"## {asked.title}", asked.told, *_failed(answer), *_rows(answer.get("rows", ()))]


def _tests(answer: dict[str, Any]) -> list[str]:
    tests = answer.get("tests", ())
    passed = sum(test["outcome"] == "passed" for test in tests)
    others = [test for test in tests if test["outcome"] != "passed"]
    told = (
        f"`make test-gpu`: {passed} of the {len(tests)} tests that ended have passed." if tests else "`make test-gpu`."
    )
    failed = [{"test": test["test"], "outcome": test["outcome"], "said": test.get("message", "")} for test in others]
    for row in failed:
        row["said"] = next((line[2:] for line in row["said"].splitlines() if line.startswith("E ")), "")[:160]
    return ["## Tests", told, *([] if tests else _failed(answer)), *_rows(failed)]


def _benchmark(answer: dict[str, Any]) -> list[str]:
    ratios = [{"ratio": f"`{name}`", "median": value} for name, value in answer.get("ratios", {}).items()]
    lost = [{"group": name, "failed": why[:160]} for name, why in answer.get("failed", {}).items()]
    return [
        "## Benchmark",
        "`make bench-gpu`, in short: 2 rounds, small slides.",
        *_failed(answer),
        *_rows(ratios),
        *_rows(lost),
    ]


def _failed(answer: dict[str, Any]) -> list[str]:
    """What is said of a part that has no answer."""
    if answer["exit code"] == 0:
        return []
    said = answer.get("said", "").strip().splitlines()
    return [f"**No answer, or not a whole one**: {said[-1][:300] if said else 'it ran out of time'}"]


def _rows(rows: Iterable[dict[str, Any]]) -> list[str]:
    """A table; what a row does not have stays empty."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [_table(names, [[_told(row.get(name)) for name in names] for row in rows])] if rows else []


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _told(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ")
