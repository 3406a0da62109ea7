"""The tiling job: slide collections into training shards.

`tile_slides` is the whole job; `cellmix-dali tile` is its command. A slide is first looked at (`plans`: its grid,
tissue, labels, overview picture), then its tiles are made part by part (`parts`), each a task (`tasks`) of an
executor (`cellmix_dali.jobs`: worker processes of its own, a Dask cluster, or this process). What is done is noted in
the job's folder (`manifest`), so that a job can go on after any end.
"""

from ..jobs import JobStoppedError
from .job import tile_slides
from .outcome import JobState, TilingResult
from .settings import TilingSettings
from .slides import find_slides

__all__ = ["JobState", "JobStoppedError", "TilingResult", "TilingSettings", "find_slides", "tile_slides"]
