"""What is shipped: wheel and sdist are built and looked into."""

from __future__ import annotations

import ast
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    "cellmix_dali/" + str(path.relative_to(ROOT)).removeprefix("cellmix_dali/")
    for top in ("cellmix_dali", "plugins", "pipelines")
    for path in (ROOT / top).rglob("*")
    if path.suffix in (".py", ".jinja")
} | {"cellmix_dali/py.typed"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--sdist",
            "--wheel",
            "--outdir",
            str(out),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
    )
    return out


def test_wheel(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"cellmix_dali"}
        assert {name for name in names if name.startswith("cellmix_dali/")} == SOURCES
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
        (entry_points,) = (name for name in names if name.endswith("/entry_points.txt"))
        assert "cellmix-dali = cellmix_dali.cli:main" in archive.read(entry_points).decode()
    for extra in ("cloud", "cuda120", "cuda130", "dev", "peers"):
        assert f"Provides-Extra: {extra}" in text
    assert "License-Expression: Apache-2.0" in text
    assert "Requires-Python: >=3.10" in text


def test_sdist_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if not member.isdir()]
        assert not [member.name for member in members if member.issym()]
        names = {member.name.split("/", 1)[1] for member in members}
        archive.extractall(tmp_path, filter="data")
    folders = {name.split("/")[0] for name in names if "/" in name}
    assert folders == {"cellmix_dali"}
    assert {name for name in names if name.startswith("cellmix_dali/")} == SOURCES
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= names

    (unpacked,) = tmp_path.iterdir()
    again = tmp_path / "again"
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(again), str(unpacked)],
        check=True,
        capture_output=True,
    )
    (wheel,), (other,) = built.glob("*.whl"), again.glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(other) as two:
        assert {name: one.read(name) for name in one.namelist() if name.endswith(".py")} == {
            name: two.read(name) for name in two.namelist() if name.endswith(".py")
        }


def test_without_dali_the_message_names_the_extra() -> None:
    """The library works without DALI; its operators say how to get it."""
    code = (
        "import sys; sys.modules['nvidia.dali'] = None\n"
        "import cellmix_dali\n"
        "from cellmix_dali.errors import MissingDependencyError\n"
        "try:\n"
        "    import cellmix_dali.plugins\n"
        "except MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install 'cellmix-dali[cuda120]'" in done.stdout


@pytest.mark.slow
def test_without_dali_the_command_line_says_so(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['nvidia.dali'] = None\n"
        f"sys.argv = ['cellmix-dali', 'demo', '--out', {str(tmp_path)!r}]\n"
        "from cellmix_dali.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'cellmix-dali[cuda120]'" in done.stderr
    assert "Traceback" not in done.stderr


#: What a machine that trains on a GPU may lack: the tiling job's engine, object stores, trainers and peers.
OPTIONAL = {"dask", "distributed", "obstore", "lightning", "pytorch_lightning", "accelerate", "ignite", "webdataset"}
OPTIONAL |= {"timm", "hypothesis", "pytest", "nbclient", "nbformat", "cucim", "CellMix", "fastslide"}


def imported_at_once(body: list[ast.stmt]) -> Iterator[str]:
    """The packages that a module needs to be imported: not those within functions, or for type checkers alone."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.If):
            body = [] if "TYPE_CHECKING" in ast.unparse(node.test) else node.body
            yield from imported_at_once([*body, *node.orelse])
        elif isinstance(node, (ast.Try, ast.With, ast.ClassDef)):
            yield from imported_at_once(node.body)


def test_every_module_imports_without_what_a_machine_with_a_gpu_may_lack() -> None:
    needed: dict[str, set[str]] = {}
    for folder in ("cellmix_dali", "plugins", "pipelines"):
        for path in (ROOT / folder).rglob("*.py"):
            names = set(imported_at_once(ast.parse(path.read_text(encoding="utf-8")).body)) & OPTIONAL
            if names:
                needed[path.relative_to(ROOT).as_posix()] = names
    # It is for Lightning, and says how to get it.
    assert needed == {"cellmix_dali/training/lightning.py": {"lightning", "pytorch_lightning"}}
