"""Run a training on damaged JP2 blocks under valgrind: python tests/valgrind.py SLIDE [LOADERS]; `make valgrind`.

Ends with 1 where anything writes to memory that is not its own, or frees what it must not; takes minutes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).parent / "slides" / "train_on_jp2.py"
LOG = Path("valgrind.log")
# Reads are left out: the interpreter's own and those of vectorised string functions are taken for wrong ones.
WRONG = re.compile(r"Invalid write|Invalid free|Process terminating")


def main() -> None:
    slide, loaders = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "1"
    options = ["--undef-value-errors=no", "--leak-check=no", f"--log-file={LOG}", "--num-callers=30"]
    done = subprocess.run(
        ["valgrind", *options, sys.executable, str(WORKER), slide, loaders],
        env={**os.environ, "PYTHONMALLOC": "malloc", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    found = WRONG.findall(LOG.read_text(errors="replace"))
    print(f"exit code {done.returncode}; {len(found)} invalid writes and frees: see {LOG}")
    sys.exit(1 if done.returncode or found else 0)


if __name__ == "__main__":
    main()
