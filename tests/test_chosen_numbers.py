"""Numbers that were chosen, or measured, and that no result shows: a change of one is on purpose, or a slip.

What a result shows is tested where it shows. These are sizes of buffers, how often something is tried, how long it is
waited, how much is looked at, and the keys that keep random numbers apart: with another one all still works, only
slower, hungrier, later, or with other draws than those that a run began with.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest

# By module: the name and the number.
CHOSEN: dict[str, dict[str, Any]] = {
    # Streams of random numbers: two of one number would draw the same.
    "curriculum.curriculum": {"_PATCH_SIZE_STREAM": 1668641394},
    "plugins.draw": {"_STREAM": 65536},
    "reading.faults": {"_STREAM": 3, "_TRIES": 4096, "_SMALL": 65536},
    "sampling.places": {"_PLACES": 5, "_ROUNDS": 6, "_VISITS": 7, "_TRIES": 16, "_KEPT": 256, "_FINER": 1.02},
    "sampling.place_table": {"_ATTEMPT": 2**44, "_ATTEMPTS": 64, "_KEPT": 64, "_OF_A_SAMPLE": 256},
    "sampling.slide_tissue": {"_MASK_SIZE": 1024},
    "sampling.permutation": {"_STREAM": 1, "_SMALL": 65536, "_ROUNDS": 8},
    "tables.splits": {"_STREAM": 4},
    "stain.pixels": {"_STREAM": 0x5741},
    "embedding.bags": {"_ORDER": 17, "_CHOICE": 18},
    "comparison.differences": {"_LEAST_PAIRS": 6, "_DRAWS": 10000, "_SEED": 0},
    # Seconds, and how often.
    "jobs.cluster": {"_WAIT_FOR_WORKERS": 120},
    "jobs.processes": {"_STILLBORN": 3, "_AHEAD": 4, "_PATIENCE": 5.0},
    "slides.block_reader": {"_TRIES": 8},
    "storage.folder_lock": {"_WAIT": 60.0, "_DYING": 1.0, "_PAUSE": 0.1},
    "storage.moment": {"_PROBES": 3},
    # Bytes and pixels at once.
    "annotations.geojson": {"_PIECE_POINTS": 256},
    "pipelines._block_cache": {"_KEPT_BYTES": 2**27},
    "pipelines._image_cache": {"_BATCH": 32, "_AHEAD": 2},
    "pipelines.tile": {"_WINDOW_BYTES": 2**24},
    "mixing.saliency": {"_AT_ONCE": 8},
    "sampling._balance": {"_AT_ONCE": 2**22},
    "shards.writing": {"_ROW_GROUP": 2**17},
    "slides.openslide": {"_MOST_HANDLES": 256},
    "slides.slide": {"_BAND_PIXELS": 2**25, "_EXACT": 1 / 1024},
    "slides.tiff": {"_HEADER_BYTES": 65536, "_MOST_HEADER_BYTES": 2**26, "_MOST_SUBIFDS": 64},
    "slides.usual_blocks": {"_MOST_BYTES": 2**24},
    "storage.aside": {"_BUFFER": 2**20, "_EARLY": 2**24},
    "storage.buffers": {"_LEAST": 65536},
    # What several processes, and versions, know of the files that stand for objects.
    "storage.object_files": {"PAGE": 2**12, "_HEADER": 4096},
    "storage.mirror": {
        "REQUESTS": 64,
        "JOINED": 2**15,
        "_MOST_BYTES": 2**20,
        "_TOUCHED": 30.0,
        "_TIDIED": 64,
    },
    "storage.sending": {"_PAUSE": 0.5, "_AGAIN": 30.0, "_AT_ONCE": 16, "_WAITING": 2**33},
    "storage.stores": {"HEAD_BYTES": 2**16, "STORE_SECONDS": 30.0, "_ONE_REQUEST": 2**25, "_PART_BYTES": 2**23},
    "storage.open_file": {"_MOST_OPEN": 4096, "_PASSING": 4},
    "tables.tile_table": {"_ROWS_AT_ONCE": 2**20},
    # Beyond what is taken: a file that asks for more is refused.
    "slides.formats.slide_file": {"_HEAD_BYTES": 1024},
    "slides.jpeg2000": {"_MOST_LEVELS": 32, "_LAST_ORDER": 4},
    "slides.xml_text": {"_MOST_TEXT": 2**26},
    "slides.scales": {"_ROUNDING": 2, "_LARGEST": 65536},
    "slides.tiff_directories": {"_MOST_DIRECTORIES": 1000},
    "storage.foreign_files": {"_LONGEST": 300},
    "tables.columns": {"_MOST_ROWS": 2**26, "_MAX_CLASSES": 65536},
    "tables.coordinates": {"_MOST_BYTES": 2**28},
    "tables.recipe": {"_MOST_CLASSES": 65536},
    # How much is looked at, read ahead, and kept.
    "pipelines.device": {"_MOST_THREADS": 16, "_AHEAD": {"cpu": 2, "gpu": 4}},
    "pipelines.routes": {
        "ALLOWED": {"rgb jpeg": 4, "ycbcr jpeg 4:2:0": 4, "jpeg 2000": 2},
        "_AT_EDGES": 24,
        "_PART": (32, 48, 96, 80),
    },
    "pipelines._tissue": {"SATURATION": 20, "BLACK": 40, "RASTER": 32},
    "plugins.engines.cpu_views": {"_PIXELS": 1024, "HEAD": 16},
    "plugins._delivery": {"_AHEAD": 2},
    "plugins.engines.cpu_normalise": {"_AHEAD": 2, "_EIGHT": 8},
    "plugins.engines.self_check": {"_BATCH": 4, "_SIZES": ((24, 16, 8), (24, 48, 12), (10, 15, 5))},
    "plugins._table_facts": {"_ROWS_OF_A_DIGEST": 1024},
    "plugins._trial_blocks": {"_SAMPLES": 64},
    "reading.slides": {"_LOOKED_AT": 4, "_MOST_SLOTS": 16},
    "sampling.epoch_order": {"_RUNS_A_WINDOW": 8},
    "slides.damage": {"_KNOWN": 64, "_ZEROS": bytes(64)},
    "tables.one_resolution": {"_GROUPS": 6},
    "tissue.looking": {"_SIDES": (1024, 4096), "_MASK_PIXELS": 4},
    # How pictures for a person are drawn.
    "tissue.overview": {
        "_SIDE": 1600,
        "_NARROWEST": 640,
        "_TILE": (0, 60, 230),
        "_TISSUE": (0, 150, 70),
        "_TEXT": (30, 30, 30),
        "_PAPER": (255, 255, 255),
        "_CROWDED": 0.3,
        "_QUALITY": 85,
    },
    "tissue.slide_mask": {"_MOST": 4096, "_SLACK": 0.02},
    "tissue.thumbnails": {"_CELL": 1024, "_SMALLEST": 128, "_GREY": 127},
    # The thresholds of tissue, glass and ink: see tests/tissue/test_recorded_masks.py, too.
    "tissue.glass": {
        "_SAMPLE": 1024,
        "_BINS": 4,
        "_NEAR": 6,
        "_EVEN": 3,
        "_LEAST": 0.02,
        "_DARKEST": 90,
        "_TINTS": 0.22,
        "_PINK": 0.03,
        "_TRIES": 12,
    },
    "tissue.ink": {"_SIDE": 1024, "_WAY": 1.0, "_FRINGE": 0.03, "_HALO": 0.01, "_PAPER": 245.0, "_BLUE_TISSUE": 0.3},
    "tissue.methods.density": {"_BLOCK": 8, "_WAY": 64, "_BLACK": 40, "_BLANK": 6, "_REACH": 3},
    "tissue.methods.saturation": {"_LEAST": 16, "_MOST": 30, "_EVEN": 4, "_TINT": 12, "_SAMPLE": 1024, "_BLACK": 40},
}


@pytest.mark.parametrize("module", CHOSEN)
def test_numbers_are_those_that_were_chosen(module: str) -> None:
    of = importlib.import_module(f"cellmix_dali.{module}")
    assert {name: getattr(of, name) for name in CHOSEN[module]} == CHOSEN[module]


def test_random_numbers_of_different_purposes_are_kept_apart() -> None:
    streams = [chosen["_STREAM"] for chosen in CHOSEN.values() if "_STREAM" in chosen]
    assert len({*streams, CHOSEN["curriculum.curriculum"]["_PATCH_SIZE_STREAM"]}) == len(streams) + 1
