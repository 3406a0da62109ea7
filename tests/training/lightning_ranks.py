"""Two ranks under Lightning's `ddp`, for test_lightning_runs.py: python lightning_ranks.py FOLDER NAME CHECKPOINT."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from test_lightning_runs import fit

from cellmix_dali import TileTable


def main() -> None:
    folder, name, checkpoint = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    table = TileTable.from_parquet(folder / "table.parquet")
    resume = None if checkpoint == "-" else folder / "whole" / checkpoint
    model, curriculum = fit(table, folder / name, resume=resume, strategy="ddp", devices=2)
    told = {"steps": model.steps, "losses": curriculum.losses}
    (folder / f"{name}-{os.environ.get('LOCAL_RANK', '0')}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
