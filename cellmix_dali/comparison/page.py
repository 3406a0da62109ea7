"""report.md: what a comparison found, in words and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from .acting import Acting
from .findings import AlsoTested, Report
from .words import METRIC_NAMES, counted, figure, interval, points, question, share

__all__ = ["markdown", "outcome"]

_FALSE_ALARMS = 0.05  # share of the 95 % intervals that leave out a true zero, were they exact

_VERDICTS = ("better", "worse", "no difference seen", "too few pairs")

_ABOUT_AUTHORS = """\
The last two columns replay the authors' own schedulers on the losses of these very runs: called once per batch, with
a loss that is summed over 8 samples, and T = 8 times the threshold of the run (4.0 for 0.5 per sample), which shrinks
with every call below it. Counted are batches whose patch size or fix ratio is not what the scheduler's plan has for
that epoch anyway. Under "loss_back" every batch leans, one way or the other, unless it is at a bound; under
"loss_hold" only those below T. "Batch loss" is the training loss of the batch itself; "validation loss" that of the
epoch before, as the authors' script passes a validation loss. On the authors' own logs it was 15 of 22,250 batches
(0.07 %)."""

_ABOUT_INTERVALS = (
    "Intervals are percentiles of 10,000 draws of a hierarchical bootstrap: folds with replacement, and within each "
    "fold drawn its seeds with replacement. The mean counts each fold the same.",
    "Few folds make them too narrow. In simulations with 5 folds and 3 seeds, an interval of 95 % held a true zero in "
    "85 to 96 % of cases, the fewer the more folds differ; with 5 folds and one seed in 83 to 85 %, with 2 folds and "
    "3 seeds in 63 to 89 %, with 10 folds and 3 seeds in 92 to 97 %.",
    '"Better" and "worse" need 6 pairs: fewer are all of one sign too often by chance ("too few pairs").',
    "The training sets of the folds overlap: their differences are not independent, and the interval does not know.",
    'It is one data set, one model and one budget. "No difference seen" is not "no difference": it may be smaller '
    "than this many folds and seeds can show.",
)

_ONE_FOLD = (
    "There is one test fold only: an interval over folds cannot be made. This one is over seeds alone, and says "
    "nothing about other images."
)


def outcome(report: Report) -> str:
    """Count the verdicts, and say how many a blind chance would give."""
    differences = report.differences
    verdicts: Counter[str] = Counter(difference.verdict for difference in differences)
    told = ", ".join(f"{verdicts[name]} {name}" for name in _VERDICTS if verdicts[name]) or "nothing to compare"
    text = (
        f"{report.data}, {report.size}: against {report.against}, in {METRIC_NAMES[report.metric]} on the "
        f"test folds: {told}."
    )
    judged = sum(difference.interval is not None for difference in differences)
    if judged:
        text += (
            f" If there were no difference at all, {counted(judged, 'arm')} would still give "
            f"{_FALSE_ALARMS * judged:.2g} false alarms on average (5 % each), more with few folds."
        )
    left_out = sum(difference.left_out for difference in differences)
    if left_out:
        text += f" {counted(left_out, 'pair')} left out, since one of the two runs failed or is not done."
    return text


def markdown(report: Report, pictures: Sequence[str]) -> str:
    """Return the text of report.md.

    Parameters
    ----------
    report : Report
        What was found.
    pictures : sequence of str
        Names of the pictures beside it.
    """
    parts = [f"# {question(report.compared)} {report.data}", outcome(report)]
    if report.differences:
        parts += [f"## Differences to {report.against}", _difference_table(report)]
    if "differences.png" in pictures:
        parts.append("![Differences](differences.png)")
    parts += [
        "## Figures of the test folds",
        f"Mean ± standard deviation over {report.size}, in percent. A run's model is that of the epoch which was best "
        "on the validation fold; it looked at the test fold once.",
        _figure_table(report),
    ]
    for also in report.also_tested:
        parts += [
            f"## The same test images under {also.change}",
            f"The same models, and nothing trained or chosen under it. Mean ± standard deviation "
            f"of the {METRIC_NAMES[report.metric]}, in percent.",
            _also_table(report, also),
        ]
    if any(choice.candidates > 1 for choice in report.choices):
        parts += ["## What was chosen on the validation folds", _choice_table(report)]
    if report.acting:
        parts += ["## How the curricula acted", _acting_table(report.acting)]
        if any(acting.authors is not None for acting in report.acting):
            parts += [_loss_drive_table(report.acting), _ABOUT_AUTHORS]
    if "curricula.png" in pictures:
        parts.append("![Curricula](curricula.png)")
    if report.failed:
        lines = [f"- {name}: {' '.join(reason.split())}" for name, reason in report.failed.items()]
        parts += [
            "## Runs that failed",
            "A fold and seed that lacks one of its two runs has no difference, and is counted as left out above.",
            "\n".join(lines),
        ]
    if report.differences:
        parts += ["## What the intervals do not say", _caveats(report)]
    parts += [
        "## Settings",
        _table(("setting", "value"), [(name, str(value)) for name, value in report.settings.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _difference_table(report: Report) -> str:
    head = ("arm", "difference [points]", "95 % interval", "verdict", "pairs", "left out", "interval over")
    return _table(
        head,
        [
            (
                each.arm,
                points(each.mean),
                interval(each),
                each.verdict,
                str(len(each.pairs)),
                str(each.left_out),
                each.over,
            )
            for each in report.differences
        ],
    )


def _figure_table(report: Report) -> str:
    head = ("arm", "runs", *METRIC_NAMES.values(), "seconds per run")
    rows = []
    for arm in report.arms:
        figures = (figure(*arm.scores[metric]).removesuffix(" %") for metric in METRIC_NAMES)
        rows.append((arm.arm, str(arm.runs), *figures, f"{arm.seconds:.0f}"))
    return _table(head, rows)


def _also_table(report: Report, also: AlsoTested) -> str:
    head = (
        "arm",
        METRIC_NAMES[report.metric],
        "difference to unchanged images [points]",
        "95 % interval",
        f"difference to {report.against} [points]",
        "95 % interval",
        "verdict",
    )
    differences = {each.arm: each for each in also.differences}
    to_unchanged = {each.arm: each for each in also.to_unchanged}
    rows = []
    for arm in also.arms:
        own, told = to_unchanged[arm.arm], differences.get(arm.arm)
        judged = ("", "", "compared with") if told is None else (points(told.mean), interval(told), told.verdict)
        found = figure(*arm.scores[report.metric]).removesuffix(" %")
        rows.append((arm.arm, found, points(own.mean), interval(own), *judged))
    return _table(head, rows)


def _choice_table(report: Report) -> str:
    chosen: dict[str, Counter[str]] = {}
    for choice in report.choices:
        if choice.candidates > 1:
            chosen.setdefault(choice.arm, Counter())[_candidate(choice.candidate)] += 1
    rows = [(arm, what, str(count)) for arm, counts in chosen.items() for what, count in counts.most_common()]
    return _table(("arm", "candidate", "folds"), rows)


def _acting_table(actings: Sequence[Acting]) -> str:
    head = (
        "arm",
        "what",
        "first epoch",
        "last epoch",
        "range",
        "epochs that changed it",
        "batches in them",
        "first change",
    )
    rows = []
    for acting in actings:
        for name, what, digits in (
            ("patch_size", "patch size [px]", 1),
            ("fix_ratio", "fix ratio", 2),
            ("threshold", "threshold", 3),
        ):
            change = acting.changes[name]
            if name == "threshold" and not acting.loss_driven:
                continue
            first = "never" if change.first_epoch is None else f"epoch {change.first_epoch + 1:.1f}"
            if change.first_epoch is not None and change.runs < acting.runs:
                first += f" ({change.runs} of {acting.runs} runs)"
            rows.append(
                (
                    acting.arm,
                    what,
                    f"{change.start:.{digits}f}",
                    f"{change.end:.{digits}f}",
                    f"{change.low:.{digits}f} to {change.high:.{digits}f}",
                    f"{change.epochs:.1f} of {acting.epochs - 1}",
                    share(change.batches, acting.batches),
                    first,
                )
            )
    return "Means over runs; epochs are counted from 1.\n\n" + _table(head, rows)


def _loss_drive_table(actings: Sequence[Acting]) -> str:
    head = (
        "arm",
        "follows the loss",
        "not as at the start",
        "authors' code, batch loss",
        "authors' code, validation loss",
    )
    rows = []
    for acting in actings:
        if acting.authors is None or acting.moved is None:
            continue
        authors = acting.authors
        by_validation = authors.by_validation_loss
        rows.append(
            (
                acting.arm,
                " and ".join(name.replace("_", " ") for name in acting.loss_driven),
                share(acting.moved, acting.batches),
                share(authors.by_batch_loss, authors.batches),
                "" if by_validation is None else share(by_validation, authors.batches),
            )
        )
    return "Where the loss drives:\n\n" + _table(head, rows)


def _caveats(report: Report) -> str:
    count = sum(difference.interval is not None for difference in report.differences)
    together = (
        f"{counted(count, 'arm')} compared at once, without correction: were there no difference anywhere, "
        f"{_FALSE_ALARMS * count:.2g} of them would be expected to look better or worse with exact intervals, more "
        "with those of few folds."
    )
    lines = [*([_ONE_FOLD] if len(report.folds) < 2 else []), *_ABOUT_INTERVALS, together]
    return "\n".join(f"- {line}" for line in lines)


def _candidate(candidate: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in candidate.items())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
