"""Records what torchstain's NumPy backend makes of images, for `test_torchstain.py`: needs torchstain 1.4.1.

python tests/stain/record_torchstain.py ../shared/slides tests/golden/torchstain.npz
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

STEP = 29  # every so many pixels of the real images


def normalised(source: Any, target: Any) -> dict[str, Any]:
    """Everything that torchstain says of a source and a target, by name."""
    from torchstain.numpy.normalizers.macenko import NumpyMacenkoNormalizer
    from torchstain.numpy.normalizers.reinhard import NumpyReinhardNormalizer

    macenko, own, reinhard = NumpyMacenkoNormalizer(), NumpyMacenkoNormalizer(), NumpyReinhardNormalizer()
    macenko.fit(target)
    own.fit(source)
    reinhard.fit(target)
    return {
        "macenko": macenko.normalize(source, stains=False)[0],
        "reinhard": reinhard.normalize(source),
        "stains": np.stack([own.HERef.T, macenko.HERef.T]),
        "concentrations": np.stack([own.maxCRef, macenko.maxCRef]),
        "target_mean": reinhard.target_means,
        "target_std": reinhard.target_stds,
    }


def rendered() -> tuple[Any, Any]:
    """Two small rendered images of H&E-like tissue with different stains, unequal sides."""
    from cellmix_dali.synthetic import render_tissue

    tiles = [render_tissue(640, 640, seed=seed)[0][280:340, 270:360] for seed in (3, 9)]
    return tiles[0], (tiles[1] * 0.8).astype(np.uint8)


if __name__ == "__main__":
    slides, out = map(Path, sys.argv[1:])
    real = [np.asarray(Image.open(slides / f"torchstain-{name}.png").convert("RGB")) for name in ("source", "target")]
    found = {f"real_{name}": of for name, of in normalised(*real).items()}
    for name in ("macenko", "reinhard"):
        found[f"real_{name}"] = found[f"real_{name}"].reshape(-1, 3)[::STEP]
    small = rendered()
    found |= {f"small_{name}": of for name, of in normalised(*small).items()}
    found |= {"small_source": small[0], "small_target": small[1]}
    np.savez_compressed(out, **found)
