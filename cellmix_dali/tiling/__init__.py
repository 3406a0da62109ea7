"""The tiling job: slide collections into training shards.

`tile_slides` is the whole job; `cellmix-dali tile` is its command. A slide is first looked at (`plans`: its grid,
tissue, labels, overview picture), then its tiles are made part by part (`parts`), each a task (`tasks`) of an
executor (`cellmix_dali.jobs`: worker processes of its own, a Dask cluster, or this process). What is done is noted in
the job's folder (`manifest`), so that a job can go on after any end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from ..jobs import JobShard as JobShard, JobStoppedError as JobStoppedError
    from .job import tile_slides as tile_slides
    from .outcome import JobState as JobState, TilingResult as TilingResult
    from .settings import TilingSettings as TilingSettings
    from .slides import find_slides as find_slides

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        ".jobs": "JobShard JobStoppedError",
        "job": "tile_slides",
        "outcome": "JobState TilingResult",
        "settings": "TilingSettings",
        "slides": "find_slides",
    },
)
