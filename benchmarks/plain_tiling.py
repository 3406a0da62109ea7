"""What people write to tile slides with OpenSlide and Pillow: ``python plain_tiling.py OUT TILE MPP SLIDE...``."""

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
from openslide import OpenSlide
from PIL import Image

out, size, mpp = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
for path in map(Path, sys.argv[4:]):
    with OpenSlide(path) as slide, tarfile.open(out / f"{path.stem}.tar", "w") as tar:
        window = round(size * mpp / float(slide.properties["openslide.mpp-x"]))
        width, height = slide.dimensions
        thumbnail = slide.get_thumbnail((1024, 1024)).convert("HSV")
        tissue = np.asarray(thumbnail)[..., 1] > 20
        scale = tissue.shape[0] / height
        for y in range(0, height - window + 1, window):
            for x in range(0, width - window + 1, window):
                left, top, right, bottom = (round(v * scale) for v in (x, y, x + window, y + window))
                if tissue[top:bottom, left:right].mean() >= 0.5:
                    tile = slide.read_region((x, y), 0, (window, window)).convert("RGB")
                    if window != size:
                        tile = tile.resize((size, size), Image.Resampling.BILINEAR)
                    file = io.BytesIO()
                    tile.save(file, "JPEG", quality=90)
                    member = tarfile.TarInfo(f"{path.stem}-{x}-{y}.jpg")
                    member.size = file.tell()
                    file.seek(0)
                    tar.addfile(member, file)
