"""Damage files at random and read them: python run.py [--seconds 600] [--seed 0] [--only NAME]; `make fuzz`.

Each file is read in a forked child with limits of time (5 s) and memory (1 GiB more than the parent has). An answer, or
an error of the package's own, is right. A crash, a hang, a foreign exception is a find: its file is kept in `finds/`,
and it ends the run with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.seeds import Target, targets
from limits import Ending, limited

from cellmix_dali.errors import CellMixDaliError

ODD = Path(__file__).resolve().parents[3] / "shared"
_OTHERS = (
    *("odd/a-bigendian-tifffile-jpeg.tif", "odd/a-jpeg-cmyk.tiff", "odd/g-ome-subifd.ome.tif", "odd/hamamatsu.ndpi"),
    *("odd/jp2-damaged-headers.tiff", "odd/leica.scn", "odd/philips.tiff", "odd/e-aperio-l1-zerolen.svs"),
    "slides/gcp-camelyon-multiframe-jpeg.dcm",
)
_INTERESTING = (0, 1, 2, 3, 4, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_WORDS = (
    *(b"-1", b"0", b"1e309", b"NaN", b"null", b"[]", b"{}", b'""', b"9" * 40),
    *(b"\0", b"\xff", b",", b"\n", b'"', b"\xef\xbb\xbf"),
)
_ALIKE = 8  # files that one child reads, one after the other, before another begins


def damaged(target: Target, random: random.Random) -> bytes:
    """A file with a few changes."""
    data = bytearray(random.choice(target.seeds))
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        # Headers lie at the beginning, and at the end.
        near = random.choice((len(data), len(data), 64, 512, 4096))
        at = random.randrange(max(1, min(near, len(data))))
        if random.random() < 0.25:
            at = max(0, len(data) - 1 - at)
        kind = random.randrange(8)
        if kind == 0:
            data[at : at + 1] = bytes([data[at] ^ (1 << random.randrange(8))]) if data else b""
        elif kind == 1:
            data[at : at + 1] = bytes([random.randrange(256)])
        elif kind == 2:
            size = random.choice((2, 4, 8))
            value = random.choice(_INTERESTING) & ((1 << 8 * size) - 1)
            data[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))
        elif kind == 3:
            del data[at : at + random.choice((1, 4, 64, len(data)))]
        elif kind == 4:
            data[at:at] = bytes(random.choice((1, 4, 64)))
        elif kind == 5:
            other = random.randrange(max(1, len(data)))
            data[at : at + 16] = data[other : other + 16]
        elif kind == 6 and target.text:
            data[at : at + random.choice((0, 1, 4))] = random.choice(_WORDS)
        else:
            data[at:at] = data[at : at + random.choice((1, 32, 400))] * random.choice((1, 2, 50))
    return bytes(data)


def read_many(target: Target, folder: Path, contents: list[bytes]) -> list[Ending]:
    """Read files, all in one child as long as it lives; a find is then read again alone."""
    place = folder / target.file

    def all_of_them() -> int:
        for content in contents:
            place.write_bytes(content)
            with contextlib.suppress(CellMixDaliError):
                target.read(place)
        return len(contents)

    ending = limited(all_of_them, seconds=5 + len(contents))
    if ending.kind == "value":
        return [ending] * len(contents)
    endings = []
    for content in contents:
        place.write_bytes(content)
        endings.append(limited(target.read, place))
    return endings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", help="targets whose names hold this")
    parser.add_argument("--finds", type=Path, default=Path("finds"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    chance, counts, finds = random.Random(arguments.seed), Counter[str](), Counter[str]()
    others = {f"odd-{Path(name).name}": (ODD / name).read_bytes() for name in _OTHERS if (ODD / name).is_file()}
    others = {name: content for name, content in others.items() if len(content) < 1 << 22}
    with tempfile.TemporaryDirectory(prefix="cellmix-dali-fuzz-") as name:
        folder = Path(name)
        chosen = [each for each in targets(folder, others) if (arguments.only or "") in each.name]
        for target in chosen:  # what is compiled at first use is compiled here; whole files must be read
            for seed in target.seeds:
                (folder / target.file).write_bytes(seed)
                with contextlib.suppress(CellMixDaliError):  # some are refused whole
                    target.read(folder / target.file)
        end = time.monotonic() + arguments.seconds
        told = time.monotonic()
        while time.monotonic() < end:
            target = chance.choice(chosen)
            contents = [damaged(target, chance) for _ in range(_ALIKE)]
            for content, ending in zip(contents, read_many(target, folder, contents), strict=True):
                counts[target.name] += 1
                if ending.kind in ("value", "error"):
                    continue
                last = ending.text.strip().splitlines()[-1]
                key = f"{target.name}: {ending.kind}: {last[:120]}"
                finds[key] += 1
                if finds[key] == 1:
                    arguments.finds.mkdir(exist_ok=True)
                    kept = arguments.finds / f"{len(finds):03}-{target.file}"
                    kept.write_bytes(content)
                    kept.with_name(kept.name + ".json").write_text(
                        json.dumps({"target": target.name, **ending._asdict()})
                    )
                    print(f"find {kept}: {key}", flush=True)
            if time.monotonic() - told > 60:
                told = time.monotonic()
                print(f"{sum(counts.values())} files, {len(finds)} kinds of finds", flush=True)
    print(f"seed {arguments.seed}: {sum(counts.values())} files of {len(chosen)} kinds, {sum(finds.values())} finds")
    for target_name, count in sorted(counts.items()):
        print(f"{count:8} {target_name}")
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
