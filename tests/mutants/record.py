"""Record which tests enter which lines of the project: python record.py FOLDER [TESTS...].

With tests named, what they enter is added to a record that is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

from copies import ROOT, copied, load_libraries, pytest_in_child
from reaching import blocks_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tests", nargs="*", default=["tests"])
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    load_libraries()
    with tempfile.TemporaryDirectory(prefix="cellmix-dali-reached-") as name:
        tree = copied(Path(name))
        blocks, texts = blocks_of(ROOT)
        for path, text in texts.items():
            (tree / path).write_text(text)
        told, record = json.dumps([dataclasses.astuple(block) for block in blocks]), folder / "record.jsonl"
        if record.exists() and (folder / "blocks.json").read_text() != told:
            record.unlink()  # it is of other code
        (folder / "blocks.json").write_text(told)
        environment = {
            "CELLMIX_DALI_REACHED": f"{name}/reached",
            "CELLMIX_DALI_RECORD": str(record),
        }
        given = ["-p", "recording", *arguments.tests]
        code = pytest_in_child(tree, given, 4 * 3600, told=folder / "told.txt", environment=environment)
        print(f"pytest ended with {code}: {folder / 'told.txt'}")


if __name__ == "__main__":
    main()
