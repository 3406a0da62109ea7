"""The report of a comparison: pictures and words for people, tables and JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ..pictures import CurriculumRow, DifferenceRow, curricula_picture, differences_picture
from ..storage.aside import write_aside
from .acting import how_curricula_acted
from .choice import Choice, choose, chosen_runs
from .differences import METRICS, changed_differences, paired_differences
from .findings import AlsoTested, ArmFigures, Report
from .page import markdown, outcome
from .records import BASELINE, SCORES, RunRecord
from .words import METRIC_NAMES, acting_note, figure

__all__ = ["Report", "print_report", "write_report"]


def write_report(
    out: Path,
    records: Sequence[RunRecord],
    *,
    settings: Mapping[str, object],
    failed: Mapping[str, str],
    planned: Collection[tuple[str, str, int]] | None = None,
    metric: str = "balanced_accuracy",
    baseline: str = BASELINE,
) -> Report:
    """Work out what a comparison found, and write it into a folder.

    ``report.md`` is for people, ``report.json`` has the same and more for programs; ``results.csv`` has one line per
    run that counts, ``differences.csv`` one per arm and metric. The pictures: ``differences.png``, and with CellMix's
    methods ``curricula.png``.

    Parameters
    ----------
    out : Path
        The folder; it must exist.
    records : sequence of RunRecord
        All runs that are done, one or more; the order of arms and candidates is that of their first record.
    settings : mapping of str to object
        How the runs were made, as JSON values; ``image_size`` [pixels] is needed where there are curricula, ``folder``
        (of the images) and ``only`` name the data.
    failed : mapping of str to str
        Runs that failed, by name, with the reason.
    planned : collection of (str, str, int), optional
        Arm, fold and seed of all runs that there should be; by default those of the records.
    metric : str, default "balanced_accuracy"
        What the verdicts are about, one of `cellmix_dali.comparison.differences.METRICS`.
    baseline : str, default "none"
        The arm that the others are compared with.

    Returns
    -------
    Report

    Raises
    ------
    ArgumentError
        If there is no such metric, or two records are of the same run.
    WriteError
        If a file cannot be written.
    """
    choices = choose(records)
    runs = chosen_runs(choices)
    differences = paired_differences(runs, metric, baseline=baseline, planned=planned)
    others = [
        each
        for name in METRICS
        if name != metric
        for each in paired_differences(runs, name, baseline=baseline, planned=planned)
    ]
    steered = any(run.curriculum is not None for run in runs)
    report = Report(
        data=_data_name(settings),
        metric=metric,
        baseline=baseline,
        compared=("mixing",) * any(run.method != BASELINE for run in runs)
        + ("augmentation",) * any(run.augment is not None for run in runs),
        folds=tuple(dict.fromkeys(sorted(run.fold for run in records))),
        seeds=tuple(dict.fromkeys(sorted(run.seed for run in records))),
        arms=tuple(_arm_figures(arm, runs) for arm in dict.fromkeys(run.arm for run in runs)),
        differences=tuple(differences),
        other_differences=tuple(others),
        choices=tuple(choices),
        acting=tuple(how_curricula_acted(runs, int(str(settings["image_size"])))) if steered else (),
        also_tested=_also_tested(runs, metric, baseline, planned),
        failed=dict(failed),
        settings=dict(settings),
    )
    _write(out / "report.json", json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n")
    _write(out / "results.csv", _results(choices))
    _write(out / "differences.csv", _differences(report))
    pictures = _draw(out, report, runs)
    _write(out / "report.md", markdown(report, pictures))
    return report


def print_report(report: Report, console: Console) -> None:
    """Print the table, the outcome in a sentence or two, and how the curricula acted."""
    console.print(report.table)
    console.print(escape(outcome(report)), soft_wrap=True)
    for acting in report.acting:
        console.print(escape(f"{acting.arm}: {'; '.join(acting_note(acting))}"), soft_wrap=True)


def _also_tested(
    runs: Sequence[RunRecord], metric: str, baseline: str, planned: Collection[tuple[str, str, int]] | None
) -> tuple[AlsoTested, ...]:
    """The same of every augmentation under which the test images were tested once more."""
    found = []
    for change in dict.fromkeys(change for run in runs for change in run.also_tested):
        changed = [replace(run, test=run.also_tested[change]) for run in runs if change in run.also_tested]
        arms = tuple(_arm_figures(arm, changed) for arm in dict.fromkeys(run.arm for run in changed))
        differences = paired_differences(changed, metric, baseline=baseline, planned=planned)
        own = changed_differences(runs, change, metric)
        found.append(AlsoTested(change=change, arms=arms, differences=tuple(differences), to_unchanged=tuple(own)))
    return tuple(found)


def _arm_figures(arm: str, runs: Sequence[RunRecord]) -> ArmFigures:
    own = [run for run in runs if run.arm == arm]
    values = {score: [run.test[score] for run in own] for score in SCORES}
    return ArmFigures(
        arm=arm,
        runs=len(own),
        scores={
            score: (statistics.fmean(each), statistics.stdev(each) if len(each) > 1 else None)
            for score, each in values.items()
        },
        seconds=statistics.fmean(run.seconds for run in own),
    )


def _data_name(settings: Mapping[str, object]) -> str:
    """The folder's own name, and which of its images."""
    name = Path(str(settings.get("folder") or "images")).name
    return f"{name}, {settings['only']}" if settings.get("only") else name


def _results(choices: Sequence[Choice]) -> str:
    """One line per run that counts."""
    options = list(dict.fromkeys(option for choice in choices for option in choice.candidate))
    head = ["arm", "method", "curriculum", "augment", "fold", "seed", *options, "candidates", "best_epoch"]
    changes = list(dict.fromkeys(change for choice in choices for run in choice.runs for change in run.also_tested))
    tests = ("validation", "test", *(f"test_under_{change}" for change in changes))
    head += [f"{which}_{score}" for which in tests for score in SCORES] + ["seconds"]
    lines: list[list[object]] = []
    for choice in choices:
        for run in choice.runs:
            line: list[object] = [run.arm, run.method, run.curriculum or "", run.augment or "", run.fold, run.seed]
            line += [run.candidate.get(option, "") for option in options]
            line += [choice.candidates, run.best_epoch + 1]
            also = (run.also_tested.get(change, {}) for change in changes)
            line += [figures.get(score, "") for figures in (run.validation, run.test, *also) for score in SCORES]
            lines.append([*line, run.seconds])
    return _csv(head, lines)


def _differences(report: Report) -> str:
    """One line an arm and metric, shares and not points; then those of what was also tested."""
    head = ["arm", "metric", "mean", "low", "high", "verdict", "over", "pairs", "left_out", "test_under", "against"]
    lines: list[list[object]] = []
    told = [(each, "", report.baseline) for each in (*report.differences, *report.other_differences)]
    for also in report.also_tested:
        told += [(each, also.change, report.baseline) for each in also.differences]
        told += [(each, also.change, "unchanged images") for each in also.to_unchanged]
    for each, change, against in told:
        low, high = each.interval or ("", "")
        mean = "" if each.mean is None else each.mean
        line = [each.arm, each.metric, mean, low, high, each.verdict, each.over, len(each.pairs), each.left_out]
        lines.append([*line, change, against])
    return _csv(head, lines)


def _csv(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    with write_aside(path) as file:
        file.write(text.encode(errors="backslashreplace"))  # names of files and folds need not be text


def _draw(out: Path, report: Report, runs: Sequence[RunRecord]) -> list[str]:
    """Draw what there is to draw; give the names of the files."""
    metric = METRIC_NAMES[report.metric]
    rows = [
        DifferenceRow(each.arm, list(each.pairs.values()), each.mean, each.interval, each.verdict)
        for each in report.differences
        if each.mean is not None
    ]
    drawn = []
    if rows:
        base = next(arm for arm in report.arms if arm.arm == report.baseline).scores[report.metric]
        title = f"{report.data}: {metric} on the test fold, {report.size}; {report.against} {figure(*base)}"
        over = {each.over for each in report.differences} - {""}
        note = "interval over the seeds of one fold: it says nothing of other folds" if over == {"seeds"} else ""
        differences_picture(out / "differences.png", rows, title=title, metric=metric, to=report.against, note=note)
        drawn.append("differences.png")
    steered = [
        CurriculumRow(
            acting.arm,
            "\n".join(acting_note(acting)),
            [run.epochs for run in runs if run.arm == acting.arm],
            bool(acting.loss_driven),
        )
        for acting in report.acting
    ]
    if steered:
        title = f"{report.data}: what the curricula did, {report.size}, medians strong"
        curricula_picture(out / "curricula.png", steered, title=title)
        drawn.append("curricula.png")
    for name in {"differences.png", "curricula.png"}.difference(drawn):
        (out / name).unlink(missing_ok=True)  # of an earlier report
    return drawn
