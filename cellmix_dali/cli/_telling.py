"""How commands with many pieces of work say how far they are, and how they end."""

from __future__ import annotations

from rich.console import Console

__all__ = ["INTERRUPTED", "SOME_FAILED", "duration", "say"]

#: Exit codes.
SOME_FAILED = 3
INTERRUPTED = 130  # as shells say it: 128 and the number of SIGINT


def say(console: Console, text: str) -> None:
    """Print a line, however long."""
    console.print(text, soft_wrap=True, highlight=False)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
