"""The example of pretraining: it trains, goes on where it was stopped, probes, and draws."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from cellmix_dali.synthetic import render_slides


def test_it_trains_and_goes_on(
    example: Callable[[str], ModuleType],
    main: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    render_slides(tmp_path, count=2, side=512, seed=3)
    module, checkpoint = example("pretrain_dino"), tmp_path / "dino.pt"
    given = (tmp_path, "--report-every", 2, "--batch-size", 4, "--steps", 4)
    whole = main(module, *given)
    save = torch.save

    def killed(state: dict[str, Any], path: Path) -> None:
        if state["done"] == 4:
            path.write_bytes(b"half of a checkpoint")
            raise KeyboardInterrupt
        save(state, path)

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        main(module, *given, "--checkpoint", checkpoint)
    first = capsys.readouterr().out.splitlines()
    monkeypatch.setattr(torch, "save", save)
    rest = main(module, *given, "--checkpoint", checkpoint)

    def told(lines: list[str]) -> list[str]:
        return [found for line in lines for found in re.findall(r"^step \d+: loss [\d.]+", line)]

    assert [line.split(":")[0] for line in told(whole)] == ["step 2", "step 4"]
    assert told(first) == told(whole)
    assert told(rest) == told(whole)[1:]
    assert re.fullmatch(r"k-NN on slide-2\.tiff: [\d.]+% right by features, [\d.]+% by colours alone", whole[-1])
    assert rest[-1] == whole[-1]
    with Image.open(tmp_path / "pca.png") as picture:
        assert picture.size[0] > 300
