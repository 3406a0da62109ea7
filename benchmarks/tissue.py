"""Measures how much tissue each method finds on pictures with known truth, and writes docs/tissue-figures.md.

Run from the project's folder: ``python benchmarks/tissue.py docs/tissue-figures.md``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "tissue"))

from tissue_pictures import CASES, measure

from cellmix_dali.tissue.methods import METHODS

_HEAD = """# Tissue: what is found

Pictures of 1160 x 620 px, rendered, restained by optical densities, compressed as JPEG (`tests/tissue_pictures.py`).
Of each method: the share of the tissue that it finds on the piece where it finds least, and the share of the glass
(with pens, dust and padding) that it takes. Written by `python benchmarks/tissue.py docs/tissue-figures.md`.

"""


def main() -> None:
    """Measure, and write the page."""
    names = list(METHODS)
    lines = [
        f"| picture | {' | '.join(f'{name}: found | {name}: glass' for name in names)} |",
        f"|---{'|---:|---:' * len(names)}|",
    ]
    seconds = dict.fromkeys(names, 0.0)
    for title, case in CASES.items():
        cells = []
        for name in names:

            def timed(picture: npt.NDArray[np.uint8], name: str = name) -> npt.NDArray[np.bool_]:
                began = time.perf_counter()
                mask = METHODS[name](picture)
                seconds[name] += time.perf_counter() - began
                return mask

            _, least, glass = measure(timed, case)
            cells += ["-" if np.isnan(least) else f"{least:.2f}", f"{glass:.3f}"]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    told = ", ".join(f"{name} {1000 * value / len(CASES):.0f} ms" for name, value in seconds.items())
    Path(sys.argv[1]).write_text(_HEAD + "\n".join(lines) + f"\n\nTime per picture, one core: {told}.\n")


if __name__ == "__main__":
    main()
