"""How commands with many pieces of work say how far they are, and how they end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from ..jobs import JobStoppedError
from ..jobs.signals import Terminated, terminable
from ..storage.aside import WriteError

__all__ = ["SOME_FAILED", "Display", "SlidesDisplay", "duration", "may_end_early", "say"]

#: Exit codes.
SOME_FAILED = 3
_STOPPED = 1
_SIGNALLED = 128  # and the signal's number, as shells say it


class Display:
    """Shows how far a job is while its block lasts: by `bars` in a terminal, else, where they are None, by lines.

    Bars have a thread. With `late`, they appear when `appear` is called, after the workers were forked.
    """

    def __init__(self, console: Console, *columns: ProgressColumn, late: bool = False) -> None:
        self.console, self._late = console, late
        self.bars = Progress(*columns, console=console) if console.is_terminal else None

    def __enter__(self) -> None:
        if not self._late:
            self.appear()

    def appear(self) -> None:
        """Show the bars, if there are any and they are not shown yet."""
        if self.bars is not None and not self.bars.live.is_started:
            self.bars.start()

    def __exit__(self, *_: object) -> None:
        if self.bars is not None:
            self.bars.stop()


class SlidesDisplay(Display):
    """Shows how far a job is that looks at each slide once: a bar, or a line for each slide that is done."""

    def __init__(self, console: Console) -> None:
        text = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn()
        super().__init__(console, *text)
        self.told: set[str] = set()  # slides of which it was said what is wrong
        self._slides = None if self.bars is None else self.bars.add_task("slides", total=None, text="starting")

    def step(self, done: int, count: int, slide: str, *, good: str, fault: str = "", kind: str = "failed") -> None:
        """Show a slide that is done: what is wrong with it, and of which kind; else what there is of it."""
        place = f"{done:,} of {count:,}"
        if fault:
            say(self.console, f"[red]{kind}:[/] {escape(fault)}")
            self.told.add(slide)
        if self.bars is not None and self._slides is not None:
            self.bars.update(self._slides, total=count, completed=done, text=place)
        elif not fault:
            say(self.console, f"{place} slides: {escape(good)}")


@contextmanager
def may_end_early(errors: Console, kept: str) -> Iterator[None]:
    """Say why a job in the block ends before its work is done, and that what is done is `kept`; then exit."""
    try:
        with terminable():
            yield
    except (JobStoppedError, WriteError) as error:
        say(errors, f"[bold red]Stopped:[/] {escape(str(error))} {kept}")
        sys.exit(_STOPPED)
    except KeyboardInterrupt as stop:
        number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
        say(errors, f"[bold red]{'Terminated' if number == signal.SIGTERM else 'Interrupted'}.[/] {kept}")
        sys.exit(_SIGNALLED + number)


def say(console: Console, text: str) -> None:
    """Print a line, however long."""
    console.print(text, soft_wrap=True, highlight=False)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
