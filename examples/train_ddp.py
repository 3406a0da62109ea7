"""Train on several GPUs, or CPU processes, one pipeline each: the page to copy from.

    torchrun --nproc-per-node=2 examples/train_ddp.py FOLDER [--device gpu] [--checkpoint run.pt]

FOLDER holds slides with QuPath annotations, as for train_classifier.py; the last slide is held out. With a checkpoint
file, a run that was stopped, by `kill -9` too, goes on with the very batches that it would have made.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cellmix_dali import Curriculum, SoftTargetCrossEntropy, TileTable, grid_tiles, open_slide
from cellmix_dali.annotations import read_geojson
from cellmix_dali.pipelines import evaluate_loader, train_loader

CLASSES = ("stroma", "tumour")
TILE = 256


def labelled_tiles(slide_path: Path) -> TileTable:
    """Lay a grid over a slide and keep the tiles of which half or more lies in one class's annotations."""
    with open_slide(slide_path) as slide:
        tiles = grid_tiles(slide, TILE)
    annotations = read_geojson(slide_path.with_suffix(".geojson"))
    labels = annotations.label_tiles(tiles.x, tiles.y, tiles.size, tiles.size, CLASSES)
    return tiles.with_labels(labels).select(labels >= 0)


def make_model() -> nn.Module:
    """Any PyTorch model will do; with batch norm, convert it by `nn.SyncBatchNorm.convert_sync_batchnorm` on GPUs."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 7, stride=4, padding=3), nn.GroupNorm(8, 32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.GroupNorm(8, 64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(CLASSES))),
    )


def sum_over_ranks(*values: float, device: torch.device) -> list[float]:
    """Add up each value over all ranks; every rank gets the same sums, to the bit."""
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    return sums.tolist()


def save(path: Path, own: dict[str, Any], **shared: Any) -> None:
    """Write one file for all ranks: what they share, and each one's own; it replaces the old one when complete."""
    gathered: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(own, gathered)
    if gathered is not None:
        aside = path.with_name(path.name + ".part")
        torch.save({"ranks": gathered, **shared}, aside)
        aside.replace(path)


def main() -> None:
    """Train, and test after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32, help="tiles a batch and rank")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--checkpoint", type=Path, help="written while training, and gone on from if it is there")
    parser.add_argument("--save-every", type=int, default=100, metavar="BATCHES")
    args = parser.parse_args()

    dist.init_process_group("nccl" if args.device == "gpu" else "gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    device = torch.device("cpu")
    if args.device == "gpu":
        torch.cuda.set_device(dist.get_node_local_rank())  # the loaders' device, too
        device = torch.device("cuda")
    torch.manual_seed(0)  # the same weights to begin with

    annotated = {path.stem for path in args.folder.glob("*.geojson")}
    slides = sorted(path for path in args.folder.iterdir() if path.stem in annotated and path.suffix != ".geojson")
    *tables, held_out = [labelled_tiles(path) for path in slides]

    curriculum = Curriculum(epochs=args.epochs, tile_size=TILE)
    common = {"num_classes": len(CLASSES), "device": args.device, "rank": rank, "world_size": world_size}
    loader = train_loader(TileTable.concat(tables), batch_size=args.batch_size, curriculum=curriculum, p=0.5, **common)
    # Every rank must get a tile of the test, however few there are.
    test = evaluate_loader(held_out, batch_size=max(1, min(args.batch_size, len(held_out) // world_size)), **common)

    model = DistributedDataParallel(make_model().to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    criterion = SoftTargetCrossEntropy()
    total = 0.0
    if args.checkpoint and args.checkpoint.exists():
        saved = torch.load(args.checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["ranks"][rank]["loader"])  # with the curriculum's
        total = saved["ranks"][rank]["total"]

    while loader.epoch < args.epochs:
        epoch = loader.epoch
        model.train()
        for number, batch in enumerate(loader, 1):  # equally many on all ranks
            loss = criterion(model(batch["images"].to(device)), batch["labels"].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            if args.checkpoint and number % args.save_every == 0:
                own = {"loader": loader.state_dict(), "total": total}
                save(args.checkpoint, own, model=model.state_dict(), optimizer=optimizer.state_dict())
        patch_size, fix_ratio = curriculum.patch_size, curriculum.fix_ratio
        (total,) = sum_over_ranks(total, device=device)
        mean_loss, total = total / (len(loader) * world_size), 0.0
        curriculum.step(mean_loss)  # by the mean over all ranks, so that they stay agreed
        if args.checkpoint:
            own = {"loader": loader.state_dict(), "total": total}
            save(args.checkpoint, own, model=model.state_dict(), optimizer=optimizer.state_dict())

        model.eval()
        right = 0
        with torch.inference_mode():
            for batch in test:  # one rank may have a batch more than another: not through DDP, which would wait for all
                guess = model.module(batch["images"].to(device)).argmax(1).cpu()
                right += (guess == batch["labels"].flatten().cpu()).sum().item()
        (right,) = sum_over_ranks(right, device=device)
        if rank == 0:
            print(
                f"epoch {epoch + 1}: loss {mean_loss:.3f}, patch {patch_size}, fix ratio {fix_ratio:.2f}, "
                f"held-out accuracy {right / len(held_out):.3f}",
                flush=True,
            )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
