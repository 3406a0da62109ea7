"""Compiled code on disk: never out of date, never damaged, compiled by one process while the others wait."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from numba import njit

from cellmix_dali import _compiled_cache as module, errors
from cellmix_dali._compiled import Callback, compiled
from cellmix_dali._compiled_cache import cache_folders, writable_folders
from cellmix_dali._compiled_key import code_digest

# Three files of a package: a kernel, what it calls, and a constant that this one takes from elsewhere.
FILES = {
    "numbers_.py": "STEP = 1\nTABLE = np.array([1.0, 2.0])\n",
    "inner.py": "from numbers_ import STEP\n\n@compiled()\ndef inner(x):\n    return x + STEP\n",
    "outer.py": "from inner import inner\n\n@compiled()\ndef outer(x):\n    return 2 * inner(x)\n",
}
HEAD = "import numpy as np\nfrom cellmix_dali._compiled import compiled\n"
SAY = """
    import sys, time
    sys.path.insert(0, {folder!r})
    from numba.core import event
    made = []
    class Listener(event.Listener):
        def on_start(self, happened): made.append(happened.data["dispatcher"].py_func.__name__)
        def on_end(self, happened): pass
    event.register("numba:compile", Listener())
    from outer import outer
    print(outer(5), *sorted(made))
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, and compiled code of it: three processes began at once."""
    folder = tmp_path_factory.mktemp("warm") / "package"
    folder.mkdir()
    for name, code in FILES.items():
        (folder / name).write_text(HEAD + code)
    found = [said(each) for each in [started(folder) for _ in range(3)]]
    # One compiled while the others waited.
    assert [of[0] for of in found] == ["12"] * 3
    assert sorted(name for of in found for name in of[1:]) == ["inner", "outer"]
    return folder.parent


@pytest.fixture
def package(warm: Path, tmp_path: Path) -> Path:
    shutil.copytree(warm, tmp_path / "copy")
    return tmp_path / "copy" / "package"


def started(folder: Path, **environment: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(SAY.format(folder=str(folder)))
    given = os.environ | {"NUMBA_CACHE_DIR": str(folder.parent / "cache")} | environment
    given = {name: value for name, value in given.items() if value}
    return subprocess.Popen([sys.executable, "-B", "-c", code], env=given, text=True, stdout=subprocess.PIPE)


def said(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return out.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "before", "after", "result", "anew"),
    [
        ("numbers_.py", "STEP = 1", "STEP = 3", "16", ["inner", "outer"]),  # baked into what imports it by name
        ("inner.py", "x + STEP", "x - STEP", "8", ["inner", "outer"]),
        ("outer.py", "2 *", "3 *", "18", ["outer"]),
        ("inner.py", "compiled()", "compiled(nogil=False)", "12", ["inner", "outer"]),
        ("inner.py", "    return", "    # the same\n    return", "12", []),
        ("numbers_.py", "TABLE = ", "TABLES = ", "12", []),  # which nothing compiled names
    ],
)
def test_a_change_anywhere_below_a_kernel_compiles_it_anew(
    package: Path, name: str, before: str, after: str, result: str, anew: list[str]
) -> None:
    """As after an upgrade in place: the files keep their size and date, so nothing but the code itself tells."""
    cache = package.parent / "cache" / "cellmix_dali"
    first = {path.name for path in cache.glob("*.nbc")}
    file = package / name
    date = file.stat().st_mtime_ns
    file.write_text(file.read_text().replace(before, after, 1))
    os.utime(file, ns=(date, date))
    assert said(started(package)) == [result, *anew]
    second = {path.name for path in cache.glob("*.nbc")}
    assert len(second) == 2  # former code is removed
    assert {of.split("-")[0].split(".")[-1] for of in second - first} == set(anew)


def test_one_process_compiles_while_the_others_wait(warm: Path) -> None:
    """The fixture looks at it; what was compiled is there for all that come."""
    assert said(started(warm / "package")) == ["12"]


def test_a_read_only_installation_uses_what_lies_in_it_and_else_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose image was warmed up by root."""
    own = tmp_path / "installed"
    monkeypatch.setattr(module.config, "CACHE_DIR", "")
    monkeypatch.setattr(module, "_PACKAGE", own)
    monkeypatch.setenv("CELLMIX_DALI_CACHE", str(tmp_path / "user"))
    warm = compiled()(_plus_one)
    assert warm(1) == 2
    (inside,) = (own / "__pycache__" / "compiled").glob("*.nbc")
    assert not (tmp_path / "user").exists()

    writable = os.access
    monkeypatch.setattr(module.os, "access", lambda path, mode: own not in Path(path).parents and writable(path, mode))
    assert [own not in folder.parents for folder in writable_folders()] == [True]
    again = compiled()(_plus_one)
    assert again(1) == 2
    assert sum(again.stats.cache_misses.values()) == 0
    inside.unlink()
    cold = compiled()(_plus_one)
    assert cold(1) == 2
    assert sum(cold.stats.cache_misses.values()) == 1
    assert [path.name for path in cache_folders()[1].glob("*.nbc")] == [inside.name]


@pytest.mark.parametrize("damage", [lambda code: code[:0], lambda code: code[:-1], lambda code: code[:-1] + b"?"])
def test_a_damaged_file_is_compiled_anew(
    damage: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that crashed leaves files of no length, or with holes."""
    monkeypatch.setattr(module.config, "CACHE_DIR", str(tmp_path))
    assert compiled()(_plus_one)(1) == 2
    (file,) = tmp_path.rglob("*.nbc")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    second = compiled()(_plus_one)
    assert second(1) == 2
    assert sum(second.stats.cache_misses.values()) == 1
    assert len(file.read_bytes()) == len(whole)
    third = compiled()(_plus_one)
    assert third(1) == 2
    assert sum(third.stats.cache_misses.values()) == 0


def test_where_nothing_can_be_kept_it_is_compiled_in_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(module.config, "CACHE_DIR", str(tmp_path / "file"))
    assert compiled()(_plus_one)(1) == 2


def test_a_process_that_compiles_for_ever_holds_the_others_for_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    holder = """
        import sys, fcntl
        from pathlib import Path
        Path(sys.argv[1]).mkdir(exist_ok=True)
        file = open(Path(sys.argv[1], "lock"), "w+")
        fcntl.lockf(file, fcntl.LOCK_EX)  # every byte
        print("held", flush=True)
        sys.stdin.read()
    """
    folder = cache_folders()[0]
    command = [sys.executable, "-c", textwrap.dedent(holder), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        began = time.monotonic()
        assert compiled()(_plus_one)(1) == 2
        assert time.monotonic() - began >= 0.3
        process.communicate("")


def test_a_callback_is_compiled_when_its_address_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from numba import types

    monkeypatch.setattr(module.config, "CACHE_DIR", str(tmp_path))
    callback = Callback(_nothing, types.void(types.int64))
    assert list(tmp_path.rglob("*.nbc")) == []
    assert callback.address == callback.address != 0
    assert len(list(tmp_path.rglob("*.nbc"))) == 1


def test_what_cannot_be_told_is_refused() -> None:
    """Better an error for whoever writes a kernel than code that may be out of date."""
    with pytest.raises(TypeError, match=r"SOMETHING|object object"):
        code_digest(_names_something)
    with pytest.raises(TypeError, match=r"names the module cellmix_dali\.errors"):
        code_digest(_names_a_module)


def test_digests_know_all_that_decides() -> None:
    def made(constant: Any, default: int = 0) -> FunctionType:
        def function(x: int, y: int = default) -> Any:
            return x, y, constant

        return function

    given = [1, 1.0, True, -0.0, 0.0, "1", (1,), np.float32(1), np.array([1, 2]), np.array([2, 1]), None, {1, 2}]
    digests = [code_digest(made(value)) for value in given]
    assert len(set(digests)) == len(given)
    assert code_digest(made(1)) == digests[0] != code_digest(made(1, 2))
    assert code_digest(made({2, 1})) == digests[-1]
    slow, quick = (njit(fastmath=fast)(_plus_one) for fast in (False, True))
    assert code_digest(made(slow)) != code_digest(made(quick))


SOMETHING = object()


def _plus_one(x):  # type: ignore[no-untyped-def]
    return x + 1


def _nothing(x):  # type: ignore[no-untyped-def]
    pass


def _names_something():  # type: ignore[no-untyped-def]
    return SOMETHING


def _names_a_module():  # type: ignore[no-untyped-def]
    return errors.CellMixDaliError
