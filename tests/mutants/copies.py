"""Copies of the project to plant faults in, and pytest in a forked child of a process that has all libraries loaded."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["ROOT", "copied", "load_libraries", "pytest_in_child"]

ROOT = Path(__file__).resolve().parents[2]
_COPIED = (
    *("cellmix_dali", "plugins", "pipelines", "tests", "examples", "docs", "benchmarks"),
    *("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile"),
)
_LIBRARIES = (
    *("numpy", "numba", "numba.core.caching", "torch", "torchmetrics", "pyarrow.parquet", "pyarrow.csv", "shapely"),
    *("PIL.Image", "h5py", "tifffile", "openslide", "psutil", "pytest", "hypothesis", "matplotlib.pyplot"),
    *("nvidia.dali.fn", "nvidia.dali.types", "nvidia.dali.plugin.pytorch", "torch.utils.data"),
)


def copied(folder: Path) -> Path:
    """Copy the project, with what numba has compiled."""
    tree = folder / "project"
    tree.mkdir(parents=True)
    for each in _COPIED:
        if (ROOT / each).is_dir():
            shutil.copytree(ROOT / each, tree / each, symlinks=True)
        elif (ROOT / each).exists():
            shutil.copy2(ROOT / each, tree / each)
    if (ROOT.parent / "shared").exists():
        (folder / "shared").symlink_to(ROOT.parent / "shared")
    return tree


def load_libraries() -> None:
    """Import what the tests need from outside, once for all children."""
    for name in _LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)


def pytest_in_child(
    tree: Path, arguments: list[str], seconds: float, *, told: Path, environment: dict[str, str] | None = None
) -> int | None:
    """Run pytest in a copy: its exit code, or None where it took longer. `told` takes what it prints."""
    child = os.fork()
    if not child:
        code = 3
        try:
            os.setsid()
            output = os.open(told, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(tree)
            paths = [str(tree), str(ROOT / "tests" / "mutants")]
            sys.path[:0] = paths
            sys.dont_write_bytecode = True
            os.environ.update(environment or {})
            os.environ.update(PYTHONPATH=os.pathsep.join(paths), OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
            if "NUMBA_CACHE_DIR" in os.environ:
                import numba

                numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]
            import pytest

            code = int(pytest.main(["-W", "ignore", *arguments]))
        except BaseException:  # whatever a planted fault does
            code = 3
        finally:
            os._exit(code)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _end_group(child)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    _end_group(child)
    os.waitpid(child, 0)
    return None


def _end_group(child: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
