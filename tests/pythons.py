"""Runs the quick tests on each of Python 3.10 to 3.14 that is installed: `make test-py`.

Each gets an environment of its own, `.venv-3.X`, which is kept: the first time takes minutes and gigabytes (PyTorch).
Pythons are looked for on the PATH and among pyenv's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = [f"3.{minor}" for minor in range(10, 15)]


def found(version: str) -> Path | None:
    """The newest interpreter of a version, if there is one."""
    on_path = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for path in [*sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True), *([Path(on_path)] if on_path else [])]:
        said = subprocess.run(
            [path, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True, text=True
        )
        if said.returncode == 0 and said.stdout.strip() == version:  # a shim of pyenv may stand for none
            return path
    return None


def environment(version: str, python: Path, extra: str, torch: str | None) -> Path:
    """The Python of the version's environment, which is made where it is missing or older than what it depends on."""
    folder = ROOT / f".venv-{version}"
    made, asked = folder / ".installed", [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    if not made.exists() or made.stat().st_mtime < max(file.stat().st_mtime for file in asked):
        subprocess.run([python, "-m", "venv", folder], check=True)
        pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        kept = [line for line in pinned if torch is None or not line.startswith("torch==")]
        constraints = folder / "constraints.txt"
        constraints.write_text(
            "\n".join([*kept, *([] if torch is None else [f"torch=={torch}"])]) + "\n", encoding="utf-8"
        )
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", constraints]
        subprocess.run([folder / "bin/python", *install, "-e", f".[{extra},dev]"], check=True, cwd=ROOT)
        made.touch()
    return folder / "bin/python"


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=VERSIONS, default=VERSIONS, help="versions to run")
    parser.add_argument("--extra", default="cuda120", help="which DALI wheel")
    parser.add_argument("--torch", help="another release of PyTorch than the one that is pinned")
    arguments = parser.parse_args()
    results: dict[str, str] = {}
    for version in arguments.only:
        python = found(version)
        if python is None:
            results[version] = "not installed"
            continue
        print(f"Python {version}: {python}", flush=True)
        try:
            inside = environment(version, python, arguments.extra, arguments.torch)
        except subprocess.CalledProcessError as error:
            results[version] = f"FAILED: cannot be installed ({error})"
            continue
        done = subprocess.run([inside, "-m", "pytest", "-m", "quick", "-q"], cwd=ROOT)
        results[version] = "passed" if done.returncode == 0 else f"FAILED: pytest ended with {done.returncode}"
    for version, result in results.items():
        print(f"Python {version}: {result}")
    if not any(result == "passed" for result in results.values()):
        print("Nothing was tested.", file=sys.stderr)
        return 1
    return int(any(result.startswith("FAILED") for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
