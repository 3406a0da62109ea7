"""Pretrain without labels, straight from slides: a small DINO (arXiv 2104.14294) on views of random places.

    python examples/pretrain_dino.py FOLDER [--steps 300] [--checkpoint dino.pt]
    torchrun --nproc-per-node=2 examples/pretrain_dino.py FOLDER

FOLDER holds slides with QuPath annotations, as for train_classifier.py, which lies beside this file, as small_dino.py
does. The annotations are used only at the end, for a k-NN probe on the last slide, which was never trained on.
FOLDER/pca.png shows its features.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
from pathlib import Path

import torch
import torch.distributed as dist
from small_dino import TILE, balanced, dino_loss, make_network, probe
from torch.nn.parallel import DistributedDataParallel

from cellmix_dali import view_loader
from cellmix_dali.augment import View
from cellmix_dali.sampling import Places, PlaceSettings, tissue_of_slides

AUGMENT = ["flip", {"hed_jitter": {"alpha": 0.1, "beta": 0.01}},
           {"colour_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 10}},
           {"greyscale": {"p": 0.2}}, {"gaussian_blur": {"p": 0.2}}]  # fmt: skip
RATE, WARM = 2e-3, 40  # of learning; steps until it is reached
VIEWS = (
    View("global", 64, count=2, scale=(0.3, 1.0), augment=AUGMENT),
    View("local", 32, count=4, scale=(0.1, 0.4), augment=AUGMENT),
)


def main() -> None:
    """Pretrain, then probe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=16, help="regions per batch and rank")
    parser.add_argument("--report-every", type=int, default=50, metavar="STEPS")
    parser.add_argument("--checkpoint", type=Path, help="written while training; gone on from if it is there")
    args = parser.parse_args()
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
    annotated = {path.stem for path in args.folder.glob("*.geojson")}
    slides = sorted(path for path in args.folder.iterdir() if path.stem in annotated and path.suffix != ".geojson")
    places = Places(tissue_of_slides(slides[:-1]), PlaceSettings(TILE, by="slide", mpp=0.5))
    loader = view_loader(places, VIEWS, batch_size=args.batch_size, steps=args.report_every)
    first = loader.source.rank == 0

    torch.manual_seed(0)
    network = make_network()
    teacher, done = copy.deepcopy(network).requires_grad_(False), 0
    student = DistributedDataParallel(network) if dist.is_initialized() else network
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.04)
    if args.checkpoint is not None and args.checkpoint.exists():
        state = torch.load(args.checkpoint, weights_only=True)
        for part, own in ((network, "student"), (teacher, "teacher"), (optimizer, "optimizer"), (loader, "loader")):
            part.load_state_dict(state[own])
        done = state["done"]
    with loader:
        while done < args.steps:
            total = 0.0
            for batch in loader:
                falling = 0.5 + 0.5 * math.cos(math.pi * done / args.steps)
                optimizer.param_groups[0]["lr"] = RATE * falling * min(1.0, (done + 1) / WARM)
                with torch.no_grad():
                    wanted = balanced(teacher(batch["global"]))
                both = torch.cat([student(batch["global"]), student(batch["local"])])
                loss = dino_loss(both, wanted, len(batch["tile"]))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    for own, new in zip(teacher.parameters(), network.parameters(), strict=True):
                        own.lerp_(new, 0.05 * falling)
                total, done = total + loss.item(), done + 1
            if first:
                print(f"step {done}: loss {total / len(loader):.3f}; {loader.timing()}", flush=True)
                if args.checkpoint is not None:
                    parts = {"student": network, "teacher": teacher, "optimizer": optimizer, "loader": loader}
                    saved = {name: part.state_dict() for name, part in parts.items()}
                    aside = args.checkpoint.with_suffix(".part")
                    torch.save({**saved, "done": done}, aside)
                    aside.replace(args.checkpoint)  # a kill leaves the former one
    if first:
        by_features, by_colour = probe(slides, teacher[0], args.folder / "pca.png")
        print(f"k-NN on {slides[-1].name}: {by_features:.1%} right by features, {by_colour:.1%} by colours alone")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
