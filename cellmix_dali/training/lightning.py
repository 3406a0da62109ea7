"""For PyTorch Lightning: loaders as a data module, and the curriculum as a callback.

Lightning takes a loader as it is: it keeps the loader's state in its checkpoints, and tells the loader the epoch. The
data module makes the loaders when the process group is there, so that ranks share the tiles; the callback steps the
curriculum. Both work with the package `lightning` and with `pytorch_lightning`: with the latter where it alone has been
imported before, or is installed alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from ..curriculum import Curriculum
from ..errors import ArgumentError, needing
from ..pipelines import Loader

if TYPE_CHECKING:
    import lightning.pytorch as pl
else:
    with needing("This module needs PyTorch Lightning", "Install it: pip install lightning."):
        if "pytorch_lightning" in sys.modules and "lightning" not in sys.modules:
            import pytorch_lightning as pl
        else:
            try:
                import lightning.pytorch as pl
            except ImportError:
                import pytorch_lightning as pl

__all__ = ["CurriculumStep", "LoaderDataModule"]

_KEY = "cellmix_dali.CurriculumStep"

MakeLoader: TypeAlias = Callable[[], Loader[Any]]


class LoaderDataModule(pl.LightningDataModule):
    """Makes loaders when Lightning asks for them, and closes them.

    By then the process group is there, so that a loader takes its rank and world size from it.

    Parameters
    ----------
    train, validation, test : callable, optional
        Makes a loader, such as ``partial(train_loader, table, num_classes=2, batch_size=64)``. With Lightning's
        ``reload_dataloaders_every_n_epochs`` it is called again, and the new loader begins at the trainer's epoch.

    Examples
    --------
    >>> data = LoaderDataModule(train=partial(train_loader, table, num_classes=2, batch_size=64, curriculum=curriculum))
    >>> trainer = Trainer(max_epochs=50, callbacks=[CurriculumStep(curriculum)])
    >>> trainer.fit(model, data)
    """

    def __init__(
        self,
        *,
        train: MakeLoader | None = None,
        validation: MakeLoader | None = None,
        test: MakeLoader | None = None,
    ) -> None:
        super().__init__()
        given = {"fit": train, "validate": validation, "test": test}
        self._makers = {stage: make for stage, make in given.items() if make is not None}
        self._loaders: dict[str, Loader[Any]] = {}
        if train is None:
            self.train_dataloader = super().train_dataloader  # type: ignore[method-assign]
        if validation is None:
            self.val_dataloader = super().val_dataloader  # type: ignore[method-assign]
        if test is None:
            self.test_dataloader = super().test_dataloader  # type: ignore[method-assign]

    def train_dataloader(self) -> Loader[Any]:
        """Make the loader of the training."""
        return self._made("fit")

    def val_dataloader(self) -> Loader[Any]:
        """Make the loader of the validation."""
        return self._made("validate")

    def test_dataloader(self) -> Loader[Any]:
        """Make the loader of the test."""
        return self._made("test")

    def teardown(self, stage: str) -> None:
        """Close the loaders that Lightning has no more use for."""
        for name in ("fit", "validate") if stage == "fit" else (stage,):
            self._close(name)

    def _made(self, stage: str) -> Loader[Any]:
        self._close(stage)
        self._loaders[stage] = self._makers[stage]()
        return self._loaders[stage]

    def _close(self, stage: str) -> None:
        loader = self._loaders.pop(stage, None)
        if loader is not None:
            loader.close()


class CurriculumStep(pl.Callback):
    """Logs the curriculum, and steps it after each epoch's last batch with the mean loss of the epoch's samples.

    The mean is that of all ranks, of the loss that ``training_step`` returned: the division by
    ``accumulate_grad_batches`` is undone. With ``limit_train_batches`` an epoch ends after so many batches. Lightning's
    checkpoints hold the curriculum's state and the running mean.

    Parameters
    ----------
    curriculum : Curriculum
        The one that the training loader was given.

    Raises
    ------
    ArgumentError
        If ``training_step`` returns no loss, or the batch no images to count.
    """

    def __init__(self, curriculum: Curriculum) -> None:
        self.curriculum = curriculum
        self._total, self._samples = 0.0, 0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Count a batch; after an epoch's last, step."""
        now = {"patch_size": float(self.curriculum.patch_size), "fix_ratio": float(self.curriculum.fix_ratio)}
        pl_module.log_dict(now, on_step=False, on_epoch=True, batch_size=1, sync_dist=False)
        samples = len(batch["images"])
        self._total += self._loss(trainer, pl_module, outputs) * samples
        self._samples += samples
        if trainer.is_last_batch:
            self.curriculum.step(self._mean(trainer))
            self._total, self._samples = 0.0, 0

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Keep the curriculum's state and the running sums of all ranks."""
        sums = torch.tensor([self._total, self._samples], dtype=torch.float64, device=trainer.strategy.root_device)
        every = trainer.strategy.all_gather(sums).reshape(-1, 2).tolist()
        # The loader's state, of which Lightning takes care, holds the curriculum's too; but after an epoch's end
        # Lightning does not load it.
        checkpoint[_KEY] = {"curriculum": self.curriculum.state_dict(), "sums": every}

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        checkpoint: dict[str, Any],
    ) -> None:
        """Take them."""
        state = checkpoint.get(_KEY)
        if state is None:
            raise ArgumentError(
                "The checkpoint is of a run without CurriculumStep: it does not say where the curriculum stood. Resume "
                "a run with the callbacks that it had."
            )
        if len(state["sums"]) != trainer.world_size:
            raise ArgumentError(
                f"The checkpoint is of a run on {len(state['sums'])} ranks, this one has {trainer.world_size}: the "
                "ranks would share the tiles otherwise. Resume with as many."
            )
        self.curriculum.load_state_dict(state["curriculum"])
        total, samples = state["sums"][trainer.global_rank]
        self._total, self._samples = float(total), int(samples)

    @staticmethod
    def _loss(trainer: pl.Trainer, module: pl.LightningModule, outputs: Any) -> float:
        """The loss of a batch as ``training_step`` returned it."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is None:
            raise ArgumentError(
                "The curriculum is steered by the loss, and training_step returned none: return the batch's mean loss, "
                'or a dict with it under "loss".'
            )
        # Under automatic optimisation Lightning has divided it.
        return float(loss) * (trainer.accumulate_grad_batches if module.automatic_optimization else 1)

    def _mean(self, trainer: pl.Trainer) -> float:
        """Mean loss of the epoch's samples, those of all ranks."""
        sums = torch.tensor([self._total, self._samples], dtype=torch.float64, device=trainer.strategy.root_device)
        total, samples = trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        return float(total / samples)
