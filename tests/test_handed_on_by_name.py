"""An argument that a function has at hand is handed on: nothing that it calls falls back to a default beside it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATHS = [path for top in ("cellmix_dali", "plugins", "pipelines") for path in sorted((ROOT / top).rglob("*.py"))]
PATHS = [path for path in PATHS if not any(parent.is_symlink() for parent in path.parents)]
Signature = tuple[list[str], set[str]]  # parameters by place, and those that have defaults
OTHERS = {"np", "pa", "fn", "torch", "shutil", "Image"}  # modules of others: their functions may be called like ours
AN_ERROR_OF_THE_SYSTEM = "the error says itself what the system said: nothing need be probed"
A_KIND_OF_ITS_OWN = "the name stands for something else here"
# What is called, the argument that is left out, and why it must be; by the module.
LEFT_OUT: dict[str, dict[tuple[str, str], str]] = {
    "cellmix_dali/augment/stain_normalisation.py": {
        ("stage_numbers", "scale"): "of the other kind of change",
        ("stage_numbers", "shift"): "of the other kind of change",
    },
    "cellmix_dali/cli/index.py": {("make_folder", "overwrite"): "the folder is that of a file, not of a training"},
    "cellmix_dali/cli/stain.py": {("make_folder", "overwrite"): "the folder is that of a file, not of a training"},
    "cellmix_dali/cli/train.py": {("ImageSamples", "folder"): "filled in where the folder is looked into"},
    "cellmix_dali/collection/job.py": {
        ("IndexSettings", "mpp"): "of all slides, and each has its own",
        ("IndexTask", "retry_seconds"): "said when the task is handed out",
        ("IndexTask", "timeout"): "said when the task is handed out",
    },
    "cellmix_dali/collection/states.py": {("refusal", "path"): AN_ERROR_OF_THE_SYSTEM},
    "cellmix_dali/comparison/arms.py": {("Arm", "curriculum"): "of methods that a curriculum does not steer"},
    "cellmix_dali/curriculum/curriculum.py": {
        ("integer", "high"): "some arguments have no upper limit",
    },
    "cellmix_dali/previews/chosen_tiles.py": {("TileRecipe", "tile_size"): "replaced in the next line"},
    "cellmix_dali/previews/mixed_tiles.py": {("TileSource", "seed"): "the order is not shuffled"},
    "cellmix_dali/embedding/asked.py": {("index", "shard"): "a list's own method"},
    "cellmix_dali/embedding/sources.py": {
        ("Sources", "coordinates"): "of slides whose tiles are laid on tissue",
        ("Sources", "table"): "it is None there",
    },
    "cellmix_dali/reading/slides.py": {("EncodedTile", "pixels"): "of tiles that are made of blocks"},
    "cellmix_dali/shards/table.py": {("index", "shard"): "a list's own method"},
    "cellmix_dali/slides/formats/dicom.py": {("refusal", "path"): AN_ERROR_OF_THE_SYSTEM},
    "cellmix_dali/slides/formats/hamamatsu.py": {
        ("through_openslide", "tables"): "where no level can be read by blocks",
    },
    "cellmix_dali/slides/grey_blocks.py": {("refusal", "path"): AN_ERROR_OF_THE_SYSTEM},
    "cellmix_dali/slides/inspection.py": {
        ("check_resolution", "level"): A_KIND_OF_ITS_OWN,
        ("check_resolution", "mpp"): A_KIND_OF_ITS_OWN,
    },
    "cellmix_dali/slides/slide.py": {("block_reader", "height"): A_KIND_OF_ITS_OWN},
    "cellmix_dali/slides/slide_blocks.py": {("refusal", "path"): AN_ERROR_OF_THE_SYSTEM},
    "cellmix_dali/slides/stream_kinds.py": {("DecoderRoute", "difference"): "of routes that nothing was tried on"},
    "cellmix_dali/slides/tiff_directories.py": {("refusal", "path"): AN_ERROR_OF_THE_SYSTEM},
    "cellmix_dali/stain/tasks.py": {
        ("SlideStain", "fit"): "of slides whose stain cannot be fitted",
        ("refusal", "path"): AN_ERROR_OF_THE_SYSTEM,
    },
    "cellmix_dali/storage/foreign_files.py": {("refusal", "path"): AN_ERROR_OF_THE_SYSTEM},
    "cellmix_dali/tables/coordinates.py": {("index", "level"): "a list's own method"},
    "cellmix_dali/tables/splits.py": {("some_of", "shown"): A_KIND_OF_ITS_OWN},
    "cellmix_dali/tissue/looking.py": {("find_tissue", "max_size"): "of the picture, which is made already"},
    "cellmix_dali/tiling/finishing.py": {("SlideResult", "shards"): "of slides without tiles"},
    "cellmix_dali/tiling/parts.py": {("write_tiles", "augmented"): "said by the table of all parts"},
    "cellmix_dali/tiling/plans.py": {("file_stamps", "known"): A_KIND_OF_ITS_OWN},
    "cellmix_dali/tiling/records.py": {("refusal", "path"): AN_ERROR_OF_THE_SYSTEM},
    "cellmix_dali/tiling/slides.py": {("refusal", "path"): AN_ERROR_OF_THE_SYSTEM},
    "cellmix_dali/training/collection.py": {
        ("Division", "fold"): A_KIND_OF_ITS_OWN,
    },
    "cellmix_dali/training/demo.py": {("Division", "seed"): "the demo's one slide is divided as every training's is"},
    "cellmix_dali/training/images.py": {
        ("ImageSamples", "folder"): "replaced in the same line",
        ("ImageSamples", "kept"): A_KIND_OF_ITS_OWN,
    },
    "cellmix_dali/training/shards.py": {("TileSamples", "verify"): "given by its place"},
    "plugins/engines/self_check.py": {
        ("Colour", "measured"): "nothing that is measured is fused, and else all is tried"
    },
    "plugins/mix.py": {("tried", "dtype"): "pixels are mixed as they are"},
    "plugins/normalise.py": {
        ("mix", "dtype"): "pixels are mixed as they are, then normalised",
        ("tried", "dtype"): "pixels are mixed as they are, then normalised",
    },
    "pipelines/_block_cache.py": {("block_reader", "height"): A_KIND_OF_ITS_OWN},
    "pipelines/graph.py": {("GraphOptions", "augment"): "a default of the function itself"},
    "pipelines/evaluate.py": {("TileSource", "num_classes"): "labels stay as the table has them"},
}


def signature(function: ast.FunctionDef, *, method: bool) -> Signature:
    """Of a function, or of a method without its first parameter."""
    of = function.args
    static = any("staticmethod" in ast.unparse(each) for each in function.decorator_list)
    by_place = [each.arg for each in (*of.posonlyargs, *of.args)]
    with_default = set(by_place[len(by_place) - len(of.defaults) :])
    with_default |= {each.arg for each, value in zip(of.kwonlyargs, of.kw_defaults, strict=True) if value is not None}
    return by_place[1:] if method and not static else by_place, with_default


def signatures() -> dict[str, list[Signature]]:
    """Of all that the project's functions, methods, classes and records are called by."""
    found: dict[str, list[Signature]] = defaultdict(list)
    for path in PATHS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                found[node.name].append(signature(node, method=False))
        for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            for node in owner.body:
                if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("__")):
                    name = owner.name if node.name == "__init__" else node.name
                    found[name].append(signature(node, method=True))
            heads = " ".join(ast.unparse(each) for each in (*owner.decorator_list, *owner.bases))
            if "dataclass" in heads or "NamedTuple" in heads:
                fields = [each for each in owner.body if isinstance(each, ast.AnnAssign)]
                names = [ast.unparse(each.target) for each in fields]
                found[owner.name].append((names, {ast.unparse(each.target) for each in fields if each.value}))
    return found


KNOWN = signatures()


def forgotten(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What is called, and an argument that it takes by default, where its caller has that name, too."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        of = function.args
        at_hand = {each.arg for each in (*of.posonlyargs, *of.args, *of.kwonlyargs)}
        at_hand |= {
            node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            if any(each.arg is None for each in call.keywords) or any(isinstance(of, ast.Starred) for of in call.args):
                continue  # all of them may be in there
            name = ""
            if isinstance(call.func, ast.Name):
                name = call.func.id
            elif isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) not in OTHERS:
                name = call.func.attr
            given = {each.arg for each in call.keywords}
            missing = [
                (with_default & at_hand) - given - {*by_place[: len(call.args)]}
                for by_place, with_default in KNOWN.get(name, ())
            ]
            for argument in sorted(set.intersection(*missing)) if missing else ():
                yield name, argument


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_at_hand_is_handed_on(path: Path) -> None:
    tree, place = ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(ROOT))
    meant = LEFT_OUT.get(place, {})
    found = set(forgotten(tree))
    assert found - meant.keys() == set(), "hand it on, or say in LEFT_OUT why not"
    assert meant.keys() - found == set(), "it is handed on now: take it out of LEFT_OUT"


def test_an_argument_that_is_left_out_is_seen() -> None:
    call = "def f(table, rank):\n    return TileSource(table, batch_size=2, {})\n"
    assert not list(forgotten(ast.parse(call.format("rank=rank"))))
    assert not list(forgotten(ast.parse(call.format("**rank"))))
    assert list(forgotten(ast.parse(call.format("world_size=2")))) == [("TileSource", "rank")]
    assert not list(forgotten(ast.parse("def f(rank):\n    return np.TileSource()\n")))
