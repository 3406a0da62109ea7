"""`cellmix-dali warm-up`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cellmix_dali import _compiled_cache
from cellmix_dali.cli import app
from cellmix_dali.cli._warming import PIECES
from cellmix_dali.errors import ArgumentError, CellMixDaliError


@pytest.mark.slow
def test_what_is_compiled_is_kept_and_not_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Worker processes see the folder by its variable; this one has read it before."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(_compiled_cache.config, "CACHE_DIR", str(tmp_path))
    for new in (True, False):
        done = CliRunner().invoke(app, ["warm-up", "mix", "--workers", "1"])
        assert done.exit_code == 0, (done.output, capfd.readouterr().err)
        words = done.output.split()
        assert words[:2] == ["mix:", "compiled."]
        assert (int(words[2]) > 0) is new
        assert words[3:8] == ["functions", "are", "new", "in", f"{tmp_path}/cellmix_dali,"]
    kept = {path.name.split("-")[0] for path in tmp_path.rglob("*.nbc")}
    assert {"mixing._exchange.exchanged", "plugins.engines.cpu_kernel.paste"} <= kept


def test_what_it_cannot_do_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match=r"'trian'.*'train'"):
        CliRunner().invoke(app, ["warm-up", "trian"], catch_exceptions=False)
    (tmp_path / "file").touch()
    monkeypatch.setattr(_compiled_cache.config, "CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(CellMixDaliError, match=r"cannot be kept: none of .*CELLMIX_DALI_CACHE"):
        CliRunner().invoke(app, ["warm-up", *PIECES], catch_exceptions=False)
