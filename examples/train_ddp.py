"""Train on several GPUs, or CPU processes, with one pipeline each: the page to copy from.

    torchrun --nproc-per-node=2 examples/train_ddp.py FOLDER [--device gpu] [--checkpoint run.pt]

FOLDER holds slides with QuPath annotations, as for train_classifier.py, which lies beside this file; the last slide is
held out. With a checkpoint, a run that was stopped, by `kill -9` too, goes on with the very batches it would have made.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from train_classifier import CLASSES, TILE, labelled_tiles

from cellmix_dali import Curriculum, SoftTargetCrossEntropy, TileTable
from cellmix_dali.pipelines import evaluate_loader, train_loader


def make_model() -> nn.Module:
    """Any PyTorch model will do; this one has no batch norm, whose statistics would be each rank's own."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 7, stride=4, padding=3), nn.GroupNorm(8, 32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.GroupNorm(8, 64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(CLASSES))),
    )


def sum_over_ranks(value: float, device: torch.device) -> float:
    """Add up the ranks' values; every rank gets the same sum, to the bit."""
    total = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.item()


def save_checkpoint(path: Path, own: dict[str, Any], **shared: Any) -> None:
    """Write one file with what is each rank's own and what they share; it replaces the old one when it is complete."""
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
    parser.add_argument("--batch-size", type=int, default=32, help="tiles per batch and rank")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--checkpoint", type=Path, help="written while training; gone on from if it is there")
    parser.add_argument("--save-every", type=int, default=100, metavar="BATCHES")
    args = parser.parse_args()

    dist.init_process_group("nccl" if args.device == "gpu" else "gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    if args.device == "gpu":
        torch.cuda.set_device(dist.get_node_local_rank())  # the loaders run there, too
    device = torch.device("cuda" if args.device == "gpu" else "cpu")

    annotated = {path.stem for path in args.folder.glob("*.geojson")}
    slides = sorted(path for path in args.folder.iterdir() if path.stem in annotated and path.suffix != ".geojson")
    *tables, held_out = [labelled_tiles(path) for path in slides]
    curriculum = Curriculum(epochs=args.epochs, tile_size=TILE)
    setup = {"num_classes": len(CLASSES), "device": args.device, "rank": rank, "world_size": world_size}
    loader = train_loader(TileTable.concat(tables), batch_size=args.batch_size, curriculum=curriculum, **setup)
    share = max(1, len(held_out) // world_size)  # so that no rank is left without a batch
    test = evaluate_loader(held_out, batch_size=min(args.batch_size, share), **setup)

    torch.manual_seed(0)
    model = DistributedDataParallel(make_model().to(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    criterion, total = SoftTargetCrossEntropy(), 0.0

    def save() -> None:
        own = {"loader": loader.state_dict(), "total": total}  # the loader's state holds the curriculum's
        save_checkpoint(args.checkpoint, own, model=model.state_dict(), optimizer=optimizer.state_dict())

    if args.checkpoint and args.checkpoint.exists():
        saved = torch.load(args.checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["ranks"][rank]["loader"])
        total = saved["ranks"][rank]["total"]
    while loader.epoch < args.epochs:
        model.train()
        for batch in loader:  # equally many on all ranks
            loss = criterion(model(batch["images"].to(device)), batch["labels"].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            done = int(batch["iteration"][0]) + 1
            if args.checkpoint and done % args.save_every == 0 and done < len(loader):
                save()  # after the last batch only when the curriculum has been stepped
        patch_size, fix_ratio = curriculum.patch_size, curriculum.fix_ratio
        mean, total = sum_over_ranks(total, device) / (len(loader) * world_size), 0.0
        curriculum.step(mean)  # the same on all ranks, so that they agree on the next epoch's patches
        if args.checkpoint:
            save()

        model.eval()
        with torch.inference_mode():  # without DDP around the model: one rank may have a batch more than another
            right = [model.module(b["images"].to(device)).argmax(1).cpu() == b["labels"].cpu() for b in test]
        accuracy = sum_over_ranks(torch.cat(right).sum().item(), device) / len(held_out)
        if rank == 0:
            what = f"loss {mean:.3f}, patch {patch_size}, fix ratio {fix_ratio:.2f}, held-out accuracy {accuracy:.3f}"
            print(f"epoch {loader.epoch}: {what}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
