"""What jobs of many pieces of work have in common, whatever the work is: tiling slides, comparing methods.

A job's folder is held by one process, and a file in it says what the job was asked for (`folder`), so that it goes on
with the same settings alone (`asked`). What is done is noted so that a crash costs no finished work (`journal`). Pieces
of work are done by this process or by others, which may die or hang: worker processes of its own (`processes`,
`worker`) or those of a Dask cluster (`cluster`), which have one contract (`contract`) and are made by `executor`. Work
that hangs has an end (`deadline`). Parts of a job may run beside each other (`job_shard`). Signals ask for an orderly
end (`signals`). What came of all slides is told in pages (`report_pages`).
"""

from .contract import JobStoppedError
from .job_shard import JobShard

__all__ = ["JobShard", "JobStoppedError"]
