"""Questions that only a GPU answers, each a function whose answer is a table: see ``make gpu-report``.

    python tests/gpu/questions.py NAME [--device gpu|cpu] [--seconds 1.0]

prints the answer's rows as lines of JSON, each as soon as it is known. With ``--device cpu`` the questions themselves
are tried where there is no GPU: whatever the GPU would do the CPU does, and the figures mean nothing.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from PIL import Image

from cellmix_dali import TileTable, open_slide
from cellmix_dali.pipelines import Loader, evaluate_loader, train_loader
from cellmix_dali.plugins import TileSource
from cellmix_dali.synthetic import render_slides

__all__ = ["QUESTIONS", "Asked", "Question"]

Stream = NDArray[np.uint8]
Row = dict[str, Any]
BLOCK, WINDOW, CLASSES = 256, 224, 3


@dataclass(frozen=True)
class Asked:
    """How a question is asked.

    Attributes
    ----------
    device : {"gpu", "cpu"}
        "cpu" tries the question itself.
    seconds : float
        How long each rate is measured.
    """

    device: str = "gpu"
    seconds: float = 1.0

    @property
    def gpu(self) -> bool:
        """Whether a GPU answers."""
        return self.device == "gpu"

    @property
    def device_id(self) -> int | None:
        """As `nvidia.dali.Pipeline` takes it."""
        return torch.cuda.current_device() if self.gpu else None

    @property
    def decoder(self) -> str:
        """Device of `fn.decoders.image`."""
        return "mixed" if self.gpu else "cpu"

    @property
    def batch(self) -> int:
        """Tiles per batch."""
        return 256 if self.gpu else 8

    def wait(self) -> None:
        """Wait until the GPU has done what it was asked."""
        if self.gpu:
            torch.cuda.synchronize()

    def rate(self, run: Callable[[], int]) -> int:
        """Items per second of `run`, which returns how many it made."""
        run()
        self.wait()
        count, start = 0, time.perf_counter()
        while not count or time.perf_counter() - start < self.seconds:
            count += run()
        self.wait()
        return round(count / (time.perf_counter() - start))


@dataclass(frozen=True)
class Question:
    """A question, and what the page says before its table."""

    title: str
    told: str
    answer: Callable[[Asked], Iterator[Row]]


QUESTIONS: dict[str, Question] = {}


def question(title: str, told: str) -> Callable[[Callable[[Asked], Iterator[Row]]], Callable[[Asked], Iterator[Row]]]:
    """Enter a function among the questions, by its name."""

    def enter(answer: Callable[[Asked], Iterator[Row]]) -> Callable[[Asked], Iterator[Row]]:
        QUESTIONS[answer.__name__] = Question(title, told, answer)
        return answer

    return enter


@contextmanager
def slides(side: int = 4096) -> Iterator[tuple[Path, Path]]:
    """Two slides of rendered tissue: an SVS (RGB 4:4:4) and a TIFF (YCbCr 4:2:0), in blocks of 256 px."""
    with TemporaryDirectory(prefix="cellmix-dali-gpu-") as folder:
        svs, tiff = render_slides(Path(folder), count=2, side=side, seed=5)
        yield svs.path, tiff.path


def blocks_of(path: Path, most: int = 256) -> list[Stream]:
    """Blocks of a slide's first level as streams."""
    with open_slide(path) as slide:
        level = slide.levels[0]
        places = np.meshgrid(np.arange(level.width // BLOCK), np.arange(level.height // BLOCK))
        columns, rows = (place.ravel()[:most].tolist() for place in places)
        return [np.frombuffer(block, np.uint8) for block in slide.blocks(0, columns, rows) if block is not None]


def streams_of_kinds(most: int = 256) -> dict[str, list[Stream]]:
    """Streams of each kind of block."""
    with slides() as (svs, tiff):
        found = {"rgb jpeg": blocks_of(svs, most), "ycbcr jpeg 4:2:0": blocks_of(tiff, most)}
        with open_slide(tiff) as slide:
            pixels = [slide.read_region(0, BLOCK * (n % 16), BLOCK * (n // 16), BLOCK, BLOCK) for n in range(64)]
    found["jpeg 2000"] = []
    for image in pixels:
        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "JPEG2000", no_jp2=True, mct=0)
        found["jpeg 2000"].append(np.frombuffer(encoded.getvalue(), np.uint8))
    return found


def decoding(streams: Sequence[Stream], device: str, device_id: int | None, threads: int, **options: Any) -> Pipeline:
    """A pipeline that decodes the same streams again and again."""
    pipeline = Pipeline(len(streams), num_threads=threads, device_id=device_id, prefetch_queue_depth=2)
    with pipeline:
        encoded = fn.external_source(lambda: list(streams), batch=True, dtype=types.UINT8, ndim=1)
        chosen = {"output_type": types.RGB, "jpeg_fancy_upsampling": True, "adjust_orientation": False} | options
        images = fn.decoders.image(encoded, device=device, **chosen)
        pipeline.set_outputs(images.gpu() if device_id is not None else images)
    pipeline.build()
    return pipeline


def pixels_of(images: Any) -> NDArray[np.int16]:
    """A DALI output's pixels on the host."""
    return np.stack([np.array(image) for image in images.as_cpu()]).astype(np.int16)


def differences(got: NDArray[np.int16], want: NDArray[np.int16]) -> Row:
    """The largest and the mean difference, in levels of 255."""
    distance = np.abs(got - want)
    return {"largest": int(distance.max()), "mean": round(float(distance.mean()), 3)}


def _loads(asked: Asked) -> dict[str, dict[str, float]]:
    """The decoders of a GPU by the share that the hardware's gets."""
    if not asked.gpu:
        return {"cpu": {}}
    return {"hardware": {"hw_decoder_load": 1.0}, "hybrid": {"hw_decoder_load": 0.0}}


@question(
    "Which pixels come out",
    "Differences of the decoders of the GPU to DALI's CPU decoder, 64 rendered blocks of a kind, in levels of 255. "
    '"Hardware" is `hw_decoder_load=1.0`, "hybrid" is 0.0. A part is decoded alone with a margin of 16 px.',
)
def colours(asked: Asked) -> Iterator[Row]:
    """Whole blocks and parts of them, by each decoder."""
    for kind, streams in streams_of_kinds(64).items():
        (cpu,) = decoding(streams, "cpu", None, 4).run()
        want = pixels_of(cpu)
        for decoder, load in _loads(asked).items():
            row: Row = {"blocks": kind, "decoder": decoder}
            try:
                (whole,) = decoding(streams, asked.decoder, asked.device_id, 4, **load).run()
                row |= differences(pixels_of(whole), want)
                part = _part(asked, streams, load)
                row["largest of a part"] = differences(part, pixels_of(whole)[:, 37:155, 51:189])["largest"]
            except RuntimeError as error:
                row["error"] = str(error).splitlines()[0][:120]
            yield row


def _part(asked: Asked, streams: Sequence[Stream], load: dict[str, float]) -> NDArray[np.int16]:
    """Rows 37 to 155 and columns 51 to 189 of each block, of a part that is 16 px larger on every side."""
    pipeline = Pipeline(len(streams), num_threads=4, device_id=asked.device_id, prefetch_queue_depth=1)
    with pipeline:
        encoded = fn.external_source(lambda: list(streams), batch=True, dtype=types.UINT8, ndim=1)
        images = fn.decoders.image_slice(
            encoded,
            types.Constant(np.array([21, 35], np.int32), device="cpu"),
            types.Constant(np.array([150, 170], np.int32), device="cpu"),
            device=asked.decoder,
            axes=[0, 1],
            normalized_anchor=False,
            output_type=types.RGB,
            jpeg_fancy_upsampling=True,
            adjust_orientation=False,
            **load,
        )
        pipeline.set_outputs(images)
    pipeline.build()
    return pixels_of(pipeline.run()[0])[:, 16:-16, 16:-16]


@question(
    "How fast it decodes",
    "Tiles per second, streams in memory, pixels on the GPU in the end. Host threads are DALI's; the processor's time "
    "is that of all threads of the process, so cores used = tiles/s x us / 1,000,000.",
)
def decoding_rates(asked: Asked) -> Iterator[Row]:
    """Each kind by the CPU, the hardware's decoder, the hybrid one and mixtures of both."""
    ways: list[tuple[str, str, dict[str, float], int]] = [("cpu", "cpu", {}, 16)]
    if asked.gpu:
        loads = (("hardware", 1.0), ("load 0.65", 0.65), ("load 0.12", 0.12), ("hybrid", 0.0))
        ways += [(name, "mixed", {"hw_decoder_load": load}, threads) for name, load in loads for threads in (2, 8, 16)]
    for kind, streams in streams_of_kinds(asked.batch).items():
        for name, device, load, threads in ways:
            if kind == "jpeg 2000" and (name not in ("cpu", "hardware") or threads < 16):
                continue
            if kind == "rgb jpeg" and name.startswith("load"):
                continue
            pipeline = decoding(streams, device, asked.device_id, threads, **load)
            cpu = time.process_time()
            made = [0]

            def run(pipeline: Pipeline = pipeline, made: list[int] = made) -> int:
                count = len(pipeline.run()[0])
                made[0] += count
                return count

            rate = asked.rate(run)
            spent = (time.process_time() - cpu) / made[0] * 1e6
            yield {"blocks": kind, "decoder": name, "threads": threads, "tiles/s": rate, "us per tile": round(spent)}
            del pipeline, run


@question(
    "Ways for RGB JPEG (Aperio)",
    "nvJPEG takes three components for YCbCr, whatever the marker APP14 says. Differences to the CPU's decoder, and "
    "tiles per second. `I_YCC` is nvImageCodec's output of the components as they are.",
)
def rgb_ways(asked: Asked) -> Iterator[Row]:
    """DALI's decoder with each output type, and nvImageCodec's components, alone and as the source of a pipeline."""
    streams = streams_of_kinds(asked.batch)["rgb jpeg"]
    want = pixels_of(decoding(streams, "cpu", None, 16).run()[0])
    for name, output in (("RGB", types.RGB), ("YCbCr", types.YCbCr)):
        pipeline = decoding(streams, asked.decoder, asked.device_id, 8, output_type=output)
        rate = asked.rate(lambda pipeline=pipeline: len(pipeline.run()[0]))  # type: ignore[misc]
        yield {"way": f"fn.decoders.image, {name}", **differences(pixels_of(pipeline.run()[0]), want), "tiles/s": rate}
        del pipeline
    if not asked.gpu:
        yield {"way": "nvImageCodec", "error": "needs a GPU"}
        return
    for threads in (1, 8):
        yield {"way": f"nvImageCodec alone, I_YCC, {threads} threads", **_components(asked, streams, want, threads)}
    yield {"way": "nvImageCodec as the source of a pipeline", **_source_of_components(asked, streams, want)}


def _decoder_of_components(asked: Asked, threads: int) -> Callable[[Sequence[bytes]], list[Any]]:
    """Decodes RGB JPEG to its components on the device."""
    from nvidia import nvimgcodec as codec

    decoder = codec.Decoder(device_id=asked.device_id, max_num_cpu_threads=threads)
    options = codec.DecodeParams(color_spec=codec.ColorSpec.SYCC, sample_format=codec.SampleFormat.I_YCC)

    def decode(streams: Sequence[bytes]) -> list[Any]:
        found: list[Any] = decoder.decode([codec.CodeStream(each) for each in streams], params=options)
        if any(image is None for image in found):
            raise RuntimeError("nvImageCodec decoded not all streams")
        return found

    return decode


def _components(asked: Asked, streams: Sequence[Stream], want: NDArray[np.int16], threads: int) -> Row:
    """The codec alone."""
    decode, encoded = _decoder_of_components(asked, threads), [each.tobytes() for each in streams]
    got = np.stack([np.array(image.cpu()) for image in decode(encoded)]).astype(np.int16)
    return {**differences(got, want), "tiles/s": asked.rate(lambda: len(decode(encoded)))}


def _source_of_components(asked: Asked, streams: Sequence[Stream], want: NDArray[np.int16]) -> Row:
    """The codec in `fn.external_source` on the device, and the normalisation after it."""
    decode, encoded = _decoder_of_components(asked, 8), [each.tobytes() for each in streams]

    def source() -> list[Any]:
        images = decode(encoded)
        asked.wait()
        return [torch.as_tensor(image, device="cuda") for image in images]

    pipeline = Pipeline(len(streams), num_threads=4, device_id=asked.device_id, prefetch_queue_depth=2)
    with pipeline:
        images = fn.external_source(source, batch=True, dtype=types.UINT8, layout="HWC", device="gpu")
        normal = fn.crop_mirror_normalize(images, mean=[124.0] * 3, std=[58.0] * 3, output_layout="CHW")
        pipeline.set_outputs(images, normal)
    pipeline.build()
    got = pixels_of(pipeline.run()[0])
    return {**differences(got, want), "tiles/s": asked.rate(lambda: len(pipeline.run()[0]))}


def _grid(path: Path, size: int, step: int, first: int = 0, most: int = 4096) -> TileTable:
    """Windows in grid order, over and over until there are `most`."""
    with open_slide(path) as slide:
        side = slide.levels[0].width
    corners = np.arange(first, side - size + 1, step)
    y, x = (place.ravel() for place in np.meshgrid(corners, corners, indexing="ij"))
    rows = np.arange(most) % len(x)
    return TileTable.from_columns(
        path, x=x[rows], y=y[rows], size=size, label=np.arange(most, dtype=np.int32) % CLASSES
    )


@question(
    "Whole loaders",
    "Tiles per second from slide files to tensors on the GPU; float16 but where it says otherwise, batches of 256, 4 "
    "reading threads. The processor's time is that of all threads of the process.",
)
def loaders(asked: Asked) -> Iterator[Row]:
    """Training and evaluation, by tiles, engine, threads and queue."""
    most = 8192 if asked.gpu else 32
    base: dict[str, Any] = {"num_threads": 4, "num_workers": 4, "dtype": "float16", "device": asked.device}
    cellmix = {"method": "CellMix-Group", "patch_size": 32, "fix_ratio": 0.5, "p": 1.0}
    with slides() as (svs, tiff):
        tables = {
            "blocks, 4:2:0": _grid(tiff, BLOCK, BLOCK, most=most),
            "blocks, RGB": _grid(svs, BLOCK, BLOCK, most=most),
            "windows of 224 px, 4:2:0": _grid(tiff, WINDOW, WINDOW, 13, most=most // 2),
            "windows of 224 px, RGB": _grid(svs, WINDOW, WINDOW, 13, most=most // 2),
        }
        for name, table in tables.items():
            for engine in ("native", "numba"):
                yield _loader_row(asked, name, f"CellMix, {engine}", table, base | cellmix | {"engine": engine})
        blocks = tables["blocks, 4:2:0"]
        varied: dict[str, dict[str, Any]] = {
            "CellMix, native, on the CPU": {"device": "cpu", "num_threads": 16},
            "no mixing, native": {"method": None, "engine": "native"},
            "no mixing, native, no flips": {"method": None, "engine": "native", "flips": False},
            "CellMix, native, 2 threads": {"num_threads": 2},
            "CellMix, native, 16 threads": {"num_threads": 16},
            "CellMix, native, 8 reading": {"num_workers": 8},
            "CellMix, native, queue of 4": {"prefetch_queue_depth": 4},
            "CellMix, native, float32": {"dtype": "float32"},
            "SaliencyMix": {"method": "SaliencyMix", "patch_size": None, "fix_ratio": None},
            "CutMix": {"method": "CutMix", "patch_size": None, "fix_ratio": None},
            "ResizeMix": {"method": "ResizeMix", "patch_size": None, "fix_ratio": None},
        }
        for name, changed in varied.items():
            options = base | cellmix | {"engine": "native"} | changed
            if options["method"] is None:
                options |= {"patch_size": None, "fix_ratio": None, "p": 0.5}
            yield _loader_row(asked, "blocks, 4:2:0", name, blocks, options)
        for name in ("blocks, 4:2:0", "windows of 224 px, 4:2:0"):
            loader = evaluate_loader(tables[name], batch_size=asked.batch, **base)
            yield {"tiles": name, "way": "evaluation", **_passes(asked, loader)}


def _loader_row(asked: Asked, tiles: str, way: str, table: TileTable, options: dict[str, Any]) -> Row:
    """One training loader's rate."""
    try:
        loader = train_loader(table, num_classes=CLASSES, batch_size=asked.batch, **options)
        return {"tiles": tiles, "way": way, **_passes(asked, loader)}
    except Exception as error:
        return {"tiles": tiles, "way": way, "error": f"{type(error).__name__}: {error}"[:160]}


def _passes(asked: Asked, loader: Loader[TileSource]) -> Row:
    """Whole passes of a loader, closed in the end."""
    made = [0]

    def run() -> int:
        count = sum(len(batch["images"]) for batch in loader)
        made[0] += count
        return count

    with loader:
        cpu = time.process_time()
        rate = asked.rate(run)
        return {"tiles/s": rate, "us per tile": round((time.process_time() - cpu) / made[0] * 1e6, 1)}


@question(
    "The same training on the CPU and on the GPU",
    "`cellmix-dali demo` on rendered slides, 3 epochs, the same seed. Weights start alike; what differs is rounding.",
)
def trainings(asked: Asked) -> Iterator[Row]:
    """The command line on each device."""
    from cellmix_dali.cli import main

    with TemporaryDirectory(prefix="cellmix-dali-gpu-") as folder:
        for device in ("cpu", "gpu") if asked.gpu else ("cpu",):
            out = Path(folder, device)
            arguments = ["demo", "--epochs", "3" if asked.gpu else "1", "--device", device, "--out", str(out)]
            start = time.perf_counter()
            code = _run_cli(main, arguments)
            row: Row = {"device": device, "exit code": code, "seconds": round(time.perf_counter() - start, 1)}
            if code == 0:
                report = json.loads((out / "report.json").read_text())
                figures = report["final"]["test"]
                row |= {key: round(value, 4) for key, value in figures.items() if isinstance(value, float)}
                row["tiles read"] = report["tiles"]["read"]["direct"]
            yield row


def _run_cli(main: Callable[[], None], arguments: list[str]) -> int:
    """The exit code of a command; what it prints goes to standard error."""
    printed, sys.stdout = sys.stdout, sys.stderr
    sys.argv = ["cellmix-dali", *arguments]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.stdout = printed
    return 0


@question(
    "Training with mixed precision",
    "A small network under `torch.autocast` on float16 batches of the loader, 64 steps: the loss of the first and the "
    "last 8 steps, which must be finite and fall.",
)
def mixed_precision(asked: Asked) -> Iterator[Row]:
    """A hand-made loop, as users write it."""
    from cellmix_dali.training.model import small_cnn

    torch.manual_seed(0)
    place = torch.device("cuda" if asked.gpu else "cpu")
    kind = torch.float16 if asked.gpu else torch.bfloat16
    model = small_cnn(CLASSES).to(place)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scaler = torch.amp.GradScaler(enabled=asked.gpu)
    losses: list[float] = []
    with slides(2048) as (_, tiff):
        table = _grid(tiff, BLOCK, BLOCK, most=512)
        bright = table.with_labels((np.arange(512) % 64 // 8 % 2).astype(np.int32))
        options: dict[str, Any] = {"method": "CellMix-Group", "patch_size": 32, "fix_ratio": 0.5, "dtype": "float16"}
        with train_loader(bright, num_classes=CLASSES, batch_size=64, device=asked.device, **options) as loader:
            for _ in range(8 if asked.gpu else 1):
                for batch in loader:
                    with torch.autocast(place.type, dtype=kind):
                        answers = model(batch["images"] if asked.gpu else batch["images"].float())
                        loss = torch.nn.functional.cross_entropy(answers.float(), batch["labels"])
                    optimizer.zero_grad()
                    scaler.scale(loss).backward()
                    scaler.step(optimizer)
                    scaler.update()
                    losses.append(loss.item())
    first, last = losses[:8], losses[-8:]
    yield {
        "steps": len(losses),
        "finite": bool(np.isfinite(losses).all()),
        "first": round(float(np.mean(first)), 4),
        "last": round(float(np.mean(last)), 4),
    }


@question(
    "The CUDA kernel against a copy",
    "The kernel of engine `numba` alone, against a copy on the device of as many bytes; 1.0 is as fast as the copy.",
)
def kernel(asked: Asked) -> Iterator[Row]:
    """See `benchmarks/gpu.py`."""
    if not asked.gpu:
        return
    import gpu as benchmark

    for name, each in benchmark.kernel_over_copy(2).items():
        yield {"what": name, "over copy": round(each["over_copy"], 2), "ms": each["mixing, ms"][-1]}


def main() -> int:
    """Answer one question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(QUESTIONS))
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
    for row in QUESTIONS[given.name].answer(Asked(given.device, given.seconds)):
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
