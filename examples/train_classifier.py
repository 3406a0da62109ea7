"""Train a tissue classifier straight from annotated slides: the page to copy from.

    python examples/train_classifier.py FOLDER [--epochs 10] [--device gpu]

FOLDER holds slides (.svs, .tif, .tiff, ...) each with its QuPath annotations beside it (slide.svs, slide.geojson). The
last slide is held out. Without FOLDER, slides are rendered into ./example-slides.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from cellmix_dali import Curriculum, SoftTargetCrossEntropy, TileRecipe, TileTable, lay_tiles, open_slide
from cellmix_dali.pipelines import evaluate_loader, train_loader
from cellmix_dali.synthetic import render_slides

CLASSES = ("stroma", "tumour")
TILE, BATCH = 256, 32


def labelled_tiles(slide_path: Path) -> TileTable:
    """Lay a grid over a slide and keep the tiles of which half or more lies in one class's annotations."""
    recipe = TileRecipe(TILE, tissue=0, annotations=slide_path.parent, classes=CLASSES)
    with open_slide(slide_path) as slide:
        return lay_tiles(slide, recipe).table


def make_model() -> nn.Module:
    """Any PyTorch model will do; this one is small."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 7, stride=4, padding=3), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(CLASSES))),
    )


def main() -> None:
    """Train, and test after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    args = parser.parse_args()
    if args.folder is None:
        args.folder = Path("example-slides")
        render_slides(args.folder, count=4, side=2048)

    annotated = {path.stem for path in args.folder.glob("*.geojson")}
    slides = sorted(path for path in args.folder.iterdir() if path.stem in annotated and path.suffix != ".geojson")
    *tables, held_out = [labelled_tiles(path) for path in slides]

    curriculum = Curriculum(epochs=args.epochs, tile_size=TILE)  # loss-driven patch size and fix ratio
    loader = train_loader(
        TileTable.concat(tables),
        num_classes=len(CLASSES),
        batch_size=BATCH,
        curriculum=curriculum,
        method="CellMix-Group",
        p=0.5,
        device=args.device,
    )
    test = evaluate_loader(held_out, num_classes=len(CLASSES), batch_size=BATCH, device=args.device)

    device = torch.device("cuda" if args.device == "gpu" else "cpu")
    model = make_model().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    criterion = SoftTargetCrossEntropy()
    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for batch in loader:
            loss = criterion(model(batch["images"].to(device)), batch["labels"].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        patch_size, fix_ratio = curriculum.patch_size, curriculum.fix_ratio
        curriculum.step(total / len(loader))  # takes effect at the next epoch's first batch

        model.eval()
        with torch.inference_mode():
            right = [(model(b["images"].to(device)).argmax(1).cpu() == b["labels"].cpu()) for b in test]
        accuracy = torch.cat(right).float().mean()
        print(
            f"epoch {epoch + 1}: loss {total / len(loader):.3f}, patch {patch_size}, fix ratio {fix_ratio:.2f}, "
            f"held-out accuracy {accuracy:.3f}"
        )


if __name__ == "__main__":
    main()
