"""accelerate and ignite, used as docs/trainers.md says: whole runs, and runs that go on from a checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from ignite.engine import Engine, Events
from ignite.metrics import Average
from torch import Tensor, nn

from cellmix_dali import Curriculum, SoftTargetCrossEntropy, TileTable
from cellmix_dali.pipelines import Loader, train_loader
from cellmix_dali.plugins import TileSource

EPOCHS = 3
CRITERION = SoftTargetCrossEntropy()


def parts(table: TileTable) -> tuple[nn.Module, torch.optim.Optimizer, Curriculum, Loader[TileSource]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(3 * 64, 3))
    curriculum = Curriculum(epochs=EPOCHS, tile_size=256, threshold=5.0)
    loader = train_loader(table, num_classes=3, batch_size=4, curriculum=curriculum)
    return model, torch.optim.SGD(model.parameters(), lr=0.01), curriculum, loader


def note(batch: dict[str, Tensor], loss: Tensor) -> list[Any]:
    applied = [int(batch[name][0]) for name in ("epoch", "iteration", "patch_size")]
    return [*applied, batch["tile"].tolist(), float(loss.detach())]


def accelerated(table: TileTable, checkpoint: Path, *, until: int = EPOCHS) -> tuple[list[Any], list[float], nn.Module]:
    """The page's loop; goes on from a checkpoint that is there."""
    accelerator = Accelerator(cpu=True)
    model, optimizer, curriculum, loader = parts(table)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    accelerator.register_for_checkpointing(loader)
    if checkpoint.exists():
        accelerator.load_state(str(checkpoint))
    steps, losses = [], []
    with loader:
        for _ in range(loader.epoch, until):
            total = torch.zeros(())
            for batch in loader:
                loss = CRITERION(model(batch["images"]), batch["labels"])
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                total += loss.detach()
                steps.append(note(batch, loss))
            losses.append(float(accelerator.reduce(total / len(loader), "mean")))
            curriculum.step(losses[-1])
            accelerator.save_state(str(checkpoint))
    return steps, losses, accelerator.unwrap_model(model)


def test_accelerate(table: TileTable, tmp_path: Path) -> None:
    whole, losses, model = accelerated(table, tmp_path / "whole")
    assert [step[:2] for step in whole] == [[epoch, number] for epoch in range(EPOCHS) for number in range(8)]
    assert [step[2] for step in whole[::8]] == [128, 64, 32]
    first, _, _ = accelerated(table, tmp_path / "broken", until=1)
    rest, again, resumed = accelerated(table, tmp_path / "broken")
    assert first + rest == whole
    assert again == losses[1:]
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), resumed.parameters(), strict=True))


@pytest.mark.slow
def test_accelerate_on_two_ranks(table: TileTable, tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "table.parquet")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__, str(tmp_path)]
    subprocess.run([sys.executable, *command], check=True, timeout=240, capture_output=True)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["losses"] == second["losses"]
    for epoch in range(EPOCHS):
        rows = [row for of in (first, second) for step in of["steps"] if step[0] == epoch for row in step[-2]]
        assert sorted(rows) == list(range(len(table)))


def ignited(table: TileTable, checkpoint: Path, *, until: int = EPOCHS) -> tuple[list[Any], list[float]]:
    model, optimizer, curriculum, loader = parts(table)
    steps, losses = [], []

    def update(_engine: Engine, batch: dict[str, Tensor]) -> float:
        optimizer.zero_grad()
        loss = CRITERION(model(batch["images"]), batch["labels"])
        loss.backward()
        optimizer.step()
        steps.append(note(batch, loss))
        return float(loss.detach())

    trainer = Engine(update)
    mean = Average(output_transform=float)
    mean.attach(trainer, "mean loss")

    @trainer.on(Events.EPOCH_COMPLETED)
    def step(engine: Engine) -> None:
        losses.append(engine.state.metrics["mean loss"])
        curriculum.step(losses[-1])
        saved = {
            "trainer": trainer.state_dict(),
            "loader": loader.state_dict(),
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        torch.save(saved, checkpoint)
        if engine.state.epoch == until:
            engine.terminate()

    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for part, state in ((trainer, "trainer"), (loader, "loader"), (model, "model"), (optimizer, "optimizer")):
            part.load_state_dict(saved[state])
    with loader:
        trainer.run(loader, max_epochs=EPOCHS)
    return steps, losses


def test_ignite(table: TileTable, tmp_path: Path) -> None:
    whole, losses = ignited(table, tmp_path / "whole.pt")
    assert [step[:2] for step in whole] == [[epoch, number] for epoch in range(EPOCHS) for number in range(8)]
    assert [step[2] for step in whole[::8]] == [128, 64, 32]
    means = np.array([step[-1] for step in whole]).reshape(EPOCHS, 8).mean(axis=1)
    assert losses == pytest.approx(list(means), rel=1e-6)
    first, _ = ignited(table, tmp_path / "broken.pt", until=1)
    rest, again = ignited(table, tmp_path / "broken.pt")
    assert first + rest == whole
    assert again == losses[1:]


def main() -> None:
    """One rank of `test_accelerate_on_two_ranks`."""
    folder = Path(sys.argv[1])
    steps, losses, _ = accelerated(TileTable.from_parquet(folder / "table.parquet"), folder / "checkpoint")
    (folder / f"{Accelerator().process_index}.json").write_text(json.dumps({"steps": steps, "losses": losses}))


if __name__ == "__main__":
    main()
