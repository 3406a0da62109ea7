"""Kill trainings at random moments, resume them, and compare: python kills.py [KILLS] [SEED]; `make kills`.

Trains on image files, and on tiles of rendered slides: once without a break, once killed (SIGKILL, as many times in
all) and resumed again and again. Weights, figures and logs must be the same.
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from cellmix_dali import cli
from cellmix_dali.synthetic import render_slides

CODE = "from cellmix_dali.cli import main; main()"
_TIMES = ("seconds", "samples_per_second")


def image_command(folder: Path, epochs: int = 6) -> list[str]:
    """Arguments of a training on small images, which are made."""
    numbers = np.random.default_rng(0)
    for number in range(72):
        part, name = ("val" if number % 6 == 0 else "train"), ("blue", "red")[number // 6 % 2]
        noise = numbers.integers(0, 160, (40, 40, 3))
        noise[..., 0 if name == "red" else 2] += 30
        place = folder / "images" / part / name
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.astype(np.uint8)).save(place / f"{number}.png")
    options = {"--epochs": epochs, "--image-size": 32, "--batch-size": 4, "--threshold": 2, "--model": "small_cnn"}
    return ["train", "images", str(folder / "images"), *(str(part) for item in options.items() for part in item)]


def slide_command(folder: Path, epochs: int = 3) -> list[str]:
    """Arguments of a training on tiles of rendered slides, which are made."""
    slides = render_slides(folder / "slides", count=4, side=768, seed=3)
    lines = [f"{slide.path},{('a', 'b')[number % 2]}" for number, slide in enumerate(slides)]
    (folder / "slides.csv").write_text("\n".join(["slide,label", *lines]) + "\n")
    options = {"--epochs": epochs, "--tile-size": 128, "--level": 0, "--batch-size": 8, "--threshold": 2}
    return ["train", "slides", str(folder / "slides.csv"), *(str(part) for item in options.items() for part in item)]


def start(command: list[str], out: Path, *more: str) -> subprocess.Popen[str]:
    """Begin a training."""
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *command, "--out", str(out), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def in_this_process(command: list[str]) -> None:
    """Train without a process of its own, which takes seconds to begin."""
    arguments, sys.argv = sys.argv, ["cellmix-dali", *command]
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise AssertionError(f"exit code {end.code}") from end
    finally:
        sys.argv = arguments


def finish(process: subprocess.Popen[str]) -> str:
    """Let it come to its end; give what it said."""
    out, err = process.communicate(timeout=300)
    if process.returncode:
        raise AssertionError(f"exit code {process.returncode}: {err}\n{out}")
    return out


def results(out: Path) -> dict[str, Any]:
    """All that a training leaves, but for times."""
    report = json.loads((out / "report.json").read_text())
    for part in (report, *report["epochs"]):
        for name in _TIMES:
            part.pop(name, None)
    report.get("tiles", {}).pop("read", None)  # what is read ahead when a process is killed is read again
    log = out / "log.csv"
    rows = list(csv.DictReader(log.open())) if log.exists() else []
    for row in rows:
        row.pop("samples_per_second")
    model = torch.load(out / "model.pt", weights_only=True)
    weights = {name: value.numpy().tobytes() for name, value in model.pop("model").items()}
    return {"report": report, "log": rows, "model": model, "weights": weights}


def killed_and_resumed(command: list[str], out: Path, kills: int, lasting: float, chance: random.Random) -> int:
    """Kill a training so many times, each at a random moment, then let it end; give how often it was under way."""
    under_way = 0
    for number in range(kills):
        process = start(command, out, *(["--resume"] if number else []))
        try:
            process.communicate(timeout=chance.uniform(0.3, 1.0) * lasting)
            if (out / "report.json").exists():
                break
        except subprocess.TimeoutExpired:
            under_way += 1
            process.kill()
            process.communicate()
    finish(start(command, out, "--resume"))
    return under_way


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    chance, done = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = [image_command(folder), slide_command(folder)]
        whole = []
        for number, command in enumerate(commands):
            began = time.perf_counter()
            finish(start(command, folder / f"whole-{number}"))
            whole.append((results(folder / f"whole-{number}"), time.perf_counter() - began))
        rounds = 0
        while done < kills:
            for number, command in enumerate(commands):
                out = folder / f"killed-{rounds}-{number}"
                done += killed_and_resumed(command, out, min(3, kills - done), whole[number][1], chance)
                assert results(out) == whole[number][0], out
                rounds += 1
                print(f"{done} kills, {rounds} trainings ended as if there had been none", flush=True)
                if done >= kills:
                    break


if __name__ == "__main__":
    main()
