"""Train a small vision transformer with a label for every token: the page to copy from.

    python examples/train_tokens.py [FOLDER]

FOLDER: slides with QuPath annotations, as for train_classifier.py beside this file; without it, slides are rendered.
CellMix moves whole patches between images, so every token of a mixed image has a label of its own: that of the image
which it came from (`source_map`). The image as a whole has the soft label. Both are learned: after "All Tokens Matter"
(arXiv 2104.10858) and TokenMix (arXiv 2207.08409). A third of a minute on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from train_classifier import CLASSES, labelled_tiles

from cellmix_dali import Curriculum, SoftTargetCrossEntropy, TileTable
from cellmix_dali.losses import TokenLoss
from cellmix_dali.pipelines import evaluate_loader, train_loader
from cellmix_dali.synthetic import render_slides
from cellmix_dali.training.vit import SmallViT

EPOCHS, BATCH, SIDE, TOKEN = 6, 16, 96, 16
TOKEN_SHARE = 0.5  # of the loss


def main() -> None:
    """Train, and test after every epoch: images as a whole, and token by token on mixed images."""
    folder = Path(*sys.argv[1:2] or ["example-slides"])
    if not sys.argv[1:]:
        render_slides(folder, count=4, side=2048)
    slides = [next(s for s in folder.glob(f"{of.stem}.*") if s != of) for of in sorted(folder.glob("*.geojson"))]
    *tables, held_out = [labelled_tiles(path) for path in slides]
    table = TileTable.concat(tables)
    own_labels = torch.tensor(table.label).long()  # those of a batch are mixed

    # Patches of whole tokens, larger from epoch to epoch.
    curriculum = Curriculum(epochs=EPOCHS, tile_size=SIDE, token_size=TOKEN, patch_strategy="linear")
    loader = train_loader(
        table,
        num_classes=len(CLASSES),
        batch_size=BATCH,
        tile_size=SIDE,
        curriculum=curriculum,
        p=0.8,
        source_map=TOKEN,  # (batch, 36), whatever the curriculum's patch size
    )
    test = evaluate_loader(held_out, num_classes=len(CLASSES), batch_size=BATCH, tile_size=SIDE)

    torch.manual_seed(0)
    model = SmallViT(len(CLASSES), SIDE, patch=TOKEN, width=64, depth=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    of_image, of_tokens = SoftTargetCrossEntropy(), TokenLoss()
    for epoch in range(EPOCHS):
        total, right, counted = 0.0, 0, 0
        for batch in loader:
            logits, own = model.token_logits(batch["images"]), own_labels[batch["tile"]]
            image_loss = of_image(logits.mean(dim=1), batch["labels"])
            token_loss = of_tokens(logits, batch["source_map"], own)
            loss = (1 - TOKEN_SHARE) * image_loss + TOKEN_SHARE * token_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            if batch["triggered"][0]:
                found = logits.argmax(dim=2)
                right, counted = right + int((found == own[batch["source_map"]]).sum()), counted + found.numel()
        patch_size, mean = curriculum.patch_size, total / len(loader)
        curriculum.step(mean)
        with torch.inference_mode():
            fits = torch.cat([model(batch["images"]).argmax(dim=1) == batch["labels"] for batch in test])
        print(
            f"epoch {epoch + 1}: loss {mean:.3f}, patch {patch_size}, tokens of mixed images right "
            f"{right / max(counted, 1):.3f}, held-out accuracy {fits.float().mean():.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
