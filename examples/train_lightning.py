"""Train with PyTorch Lightning; the curriculum is a callback, logged beside the loss: the page to copy from.

    pip install lightning
    python examples/train_lightning.py [FOLDER] [--resume lightning-run/version_0/checkpoints/last.ckpt]

FOLDER: slides with QuPath annotations, as for train_classifier.py beside this file; without it, slides are rendered.
The last slide is held out. Patch size and fix ratio of every epoch go to lightning-run/version_0/metrics.csv. A run
that is resumed goes on with the very batches that the first one would have made.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from train_classifier import CLASSES, TILE, labelled_tiles, make_model

from cellmix_dali import Curriculum, SoftTargetCrossEntropy, TileTable
from cellmix_dali.pipelines import TileLoader, evaluate_loader, train_loader
from cellmix_dali.synthetic import render_slides


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


class Resumable:
    """A loader as Lightning goes through it: it asks for no batch after an epoch's last, so then the next is due."""

    def __init__(self, loader: TileLoader) -> None:
        self.loader, self.load_state_dict = loader, loader.load_state_dict

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return iter(self.loader)

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        state = self.loader.state_dict()
        return state | ({"epoch": state["epoch"] + 1, "iteration": 0} if state["iteration"] == len(self) else {})


class CurriculumStep(Callback):
    """Logs the curriculum, steps it after an epoch's last batch, and keeps it and the loader's place in checkpoints."""

    def __init__(self, loader: Resumable, curriculum: Curriculum) -> None:
        self.loader, self.curriculum, self.total = loader, curriculum, 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, *_: Any) -> None:  # noqa: D102
        now = {"patch_size": float(self.curriculum.patch_size), "fix_ratio": self.curriculum.fix_ratio}
        pl_module.log_dict(now, on_step=False, on_epoch=True, batch_size=1)
        self.total += outputs["loss"].item()
        if trainer.is_last_batch:  # in force from the next epoch's first batch
            self.curriculum.step(self.total / len(self.loader))
            self.total = 0.0

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return {"loader": self.loader.state_dict(), "total": self.total}  # the curriculum's state is in the loader's

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # noqa: D102
        self.loader.load_state_dict(state_dict["loader"])
        self.total = state_dict["total"]


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
    train = TileTable.concat(tables)
    loader = Resumable(train_loader(train, num_classes=len(CLASSES), batch_size=32, curriculum=curriculum))
    test = evaluate_loader(held_out, num_classes=len(CLASSES), batch_size=32)
    callbacks = [CurriculumStep(loader, curriculum), ModelCheckpoint(save_last=True, save_on_train_epoch_end=True)]
    logger = CSVLogger(".", name="lightning-run")
    trainer = Trainer(max_epochs=args.epochs, accelerator="cpu", callbacks=callbacks, logger=logger)
    trainer.fit(Classifier(), loader, test, ckpt_path=args.resume)
    print(Path(logger.log_dir, "metrics.csv").read_text())


if __name__ == "__main__":
    main()
