"""Images of known stains."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HAEMATOXYLIN, EOSIN = (np.array(of) / np.linalg.norm(of) for of in ([0.65, 0.70, 0.29], [0.25, 0.90, 0.30]))


def stained(
    *, haematoxylin: NDArray[np.float64] = HAEMATOXYLIN, eosin: NDArray[np.float64] = EOSIN, seed: int = 0
) -> NDArray[np.uint8]:
    """An image (60, 80, 3) of two stains by the law of Lambert and Beer: some pixels have one of them alone."""
    random = np.random.default_rng(seed)
    amounts = random.gamma(3, 0.25, (60, 80, 2)) + 0.05
    kind = random.integers(0, 3, (60, 80))
    amounts[kind == 1, 0] = 0
    amounts[kind == 2, 1] = 0
    light = 240 * np.exp(-amounts @ np.stack([haematoxylin, eosin])) - 1
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)
