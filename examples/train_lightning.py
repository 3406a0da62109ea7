"""Train with PyTorch Lightning; the curriculum is a callback, logged beside the loss: the page to copy from.

    pip install lightning
    python examples/train_lightning.py [FOLDER] [--resume lightning-run/version_0/checkpoints/last.ckpt]

FOLDER: slides with QuPath annotations, as for train_classifier.py beside this file; without it, slides are rendered.
The last slide is held out. Patch size and fix ratio of every epoch go to lightning-run/version_0/metrics.csv. A run
that is resumed goes on with the very batches that the first one would have made.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from train_classifier import CLASSES, TILE, labelled_tiles, make_model

from cellmix_dali import Curriculum, SoftTargetCrossEntropy, TileTable
from cellmix_dali.pipelines import evaluate_loader, train_loader
from cellmix_dali.synthetic import render_slides
from cellmix_dali.training.lightning import CurriculumStep, LoaderDataModule


class Classifier(LightningModule):
    """Any model will do; batches are dicts, with soft labels in training and class indices in validation."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.criterion = make_model(), SoftTargetCrossEntropy()

    def training_step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:  # noqa: D102
        loss = self.criterion(self.model(batch["images"]), batch["labels"])
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["images"]))
        return loss

    def validation_step(self, batch: dict[str, torch.Tensor]) -> None:  # noqa: D102
        right = self.model(batch["images"]).argmax(1) == batch["labels"]
        self.log("accuracy", right.float().mean(), batch_size=len(right))

    def configure_optimizers(self) -> torch.optim.Optimizer:  # noqa: D102
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main() -> None:
    """Train, and test after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--resume", type=Path, help="a checkpoint to go on from")
    args = parser.parse_args()
    seed_everything(0)
    folder = args.folder or render_slides("example-slides", count=4, side=2048)[0].path.parent
    slides = [next(s for s in folder.glob(f"{of.stem}.*") if s != of) for of in sorted(folder.glob("*.geojson"))]
    *tables, held_out = [labelled_tiles(path) for path in slides]

    curriculum = Curriculum(epochs=args.epochs, tile_size=TILE)
    options = {"num_classes": len(CLASSES), "batch_size": 32}
    data = LoaderDataModule(
        train=partial(train_loader, TileTable.concat(tables), curriculum=curriculum, **options),
        validation=partial(evaluate_loader, held_out, **options),
    )
    callbacks = [CurriculumStep(curriculum), ModelCheckpoint(save_last=True, save_on_train_epoch_end=True)]
    logger = CSVLogger(".", name="lightning-run")
    trainer = Trainer(max_epochs=args.epochs, accelerator="cpu", callbacks=callbacks, logger=logger)
    trainer.fit(Classifier(), data, ckpt_path=args.resume)
    print(Path(logger.log_dir, "metrics.csv").read_text())


if __name__ == "__main__":
    main()
