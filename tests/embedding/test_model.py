"""Models of all kinds, what they say of their images, and what is refused."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stand_ins import Patches, patches, plain_loop

from cellmix_dali import TileTable
from cellmix_dali.embedding import FeatureModel, ModelSettings, embed, open_model, slide_features
from cellmix_dali.errors import ArgumentError, MissingDependencyError
from cellmix_dali.training import ModelConfiguration

OWN = {"mean": [0.7, 0.6, 0.5], "std": [0.2, 0.25, 0.3], "input_size": [3, 64, 64], "mpp": 0.5}


@pytest.fixture
def few(tiles: TileTable) -> TileTable:
    return tiles.select(np.arange(6))


def check(model: FeatureModel, few: TileTable, mean: Any = OWN["mean"], std: Any = OWN["std"]) -> None:
    np.testing.assert_allclose(embed(few, model)[0], plain_loop(patches(), few, mean, std), atol=1e-5)


def test_a_function_of_ones_own_with_its_configuration(few: TileTable) -> None:
    model = open_model("stand_ins:told")
    assert (model.configuration.size, model.configuration.mpp) == (64, 0.5)
    assert "stand_ins:told" in model.configuration.said_by
    check(model, few)
    by_name = np.concatenate([each.features for each in slide_features(few, "stand_ins:told", ModelSettings())])
    np.testing.assert_allclose(by_name, embed(few, model)[0], atol=1e-6)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_a_model_in_a_file(few: TileTable, tmp_path: Path, kind: str, inside: bool) -> None:
    extra = {"config.json": json.dumps(OWN)} if inside else {}
    images = torch.zeros(2, 3, 64, 64)
    if kind == "torchscript":
        path = tmp_path / "model.pt"
        torch.jit.save(torch.jit.trace(patches().eval(), images), path, _extra_files=extra)
    else:
        path = tmp_path / "model.pt2"
        shapes = {"images": {0: torch.export.Dim("n", min=1, max=512)}}
        torch.export.save(
            torch.export.export(patches().eval(), (images,), dynamic_shapes=shapes), path, extra_files=extra
        )
    if not inside:
        path.with_suffix(".json").write_text(json.dumps(OWN))
    model = open_model(str(path))
    assert model.configuration.mpp == 0.5
    check(model, few)


def test_weights_of_a_file(few: TileTable, tmp_path: Path) -> None:
    state = patches().state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "w.pth")
    torch.manual_seed(1)
    settings = ModelSettings(weights=tmp_path / "w.pth")
    model = open_model("stand_ins:Patches", settings)
    assert model.configuration == ModelConfiguration()
    assert model.digest() == FeatureModel(patches()).digest() != open_model("stand_ins:Patches").digest()
    check(model, few, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    torch.save({**state, "head.more": torch.zeros(1)}, tmp_path / "w.pth")
    assert open_model("stand_ins:Patches", settings).notes == ("left out of the weights: head.more",)
    del state["embed.bias"]
    torch.save({**state, "other": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(ArgumentError, match=r"1 missing, such as embed\.bias; 1 unknown, such as other"):
        open_model("stand_ins:Patches", settings)
    torch.save({**patches().state_dict(), "head.bias": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(ArgumentError, match="do not fit"):
        open_model("stand_ins:Patches", settings)
    torch.save([1], tmp_path / "w.pth")
    with pytest.raises(ArgumentError, match="not a state dict"):
        open_model("stand_ins:Patches", settings)


def test_a_module_says_its_own_configuration(few: TileTable) -> None:
    module = patches()
    module.pretrained_cfg = OWN  # type: ignore[assignment]
    model = FeatureModel(module)
    assert model.configuration.said_by == "the model's own pretrained_cfg"
    check(model, few)
    check(FeatureModel(patches(), ModelConfiguration(mean=OWN["mean"], std=OWN["std"])), few)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("resnet50", {}, "is not known: give timm:NAME"),
        ("stand_ins:nothing", {}, "cannot be imported"),
        ("stand_ins:Slow", {}, "cannot be made"),
        ("missing.pt", {}, "There is no model at"),
        ("stand_ins:patches", {"layers": ("blocks.9",)}, "no layer 'blocks.9'. Its layers: embed, block"),
        ("stand_ins:patches", {"pretrained": True}, "is not timm's"),
        ("stand_ins:patches", {"device": "cuda:77"}, "cannot be used"),
    ],
)
def test_models_that_are_refused(name: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        open_model(name, ModelSettings(**settings))


def test_files_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"nothing")
    with pytest.raises(ArgumentError, match="Expected TorchScript"):
        open_model(str(tmp_path / "a.pt"))
    torch.jit.save(torch.jit.trace(patches().eval(), torch.zeros(2, 3, 64, 64)), tmp_path / "b.pt")
    for text, words in (("{", "is not JSON"), ("[]", "is not an object"), ('{"std": [0, 1, 1]}', "std")):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(ArgumentError, match=words):
            open_model(str(tmp_path / "b.pt"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"tokens": "all"}, "tokens"),
        ({"amp": "float64"}, "amp"),
        ({"dtype": "int8"}, "dtype"),
        ({"layers": ("a", "a")}, "each once"),
        ({"layers": ("a",), "compiled": True}, "Leave one out"),
        ({"weights": "/nowhere.pth"}, "There are no weights at"),
        ({"weights": __file__, "pretrained": True}, "not both"),
    ],
)
def test_settings_that_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        ModelSettings(**given)


def test_images_that_a_model_does_not_take(few: TileTable) -> None:
    with pytest.raises(ArgumentError, match="does not take 2 images of 8 x 8 pixels"):
        embed(few, FeatureModel(patches()), tile_size=8)
    with pytest.raises(ArgumentError, match="expected one vector for each"):
        embed(few, FeatureModel(Patches().forward_features))
    with pytest.raises(ArgumentError, match="has no tokens"):
        embed(few, FeatureModel(torch.nn.Sequential(torch.nn.Flatten()), settings=ModelSettings(tokens="cls")))
    with pytest.raises(ArgumentError, match="Give them to open_model"):
        embed(few, FeatureModel(patches()), ModelSettings())


def test_models_of_timm(few: TileTable, tmp_path: Path) -> None:
    try:
        import timm
    except ImportError as error:
        with pytest.raises(MissingDependencyError, match="timm"):
            open_model("timm:vit_tiny_patch16_224")
        pytest.skip(f"timm is not installed ({error})")
    name = "timm:vit_tiny_patch16_224"
    with pytest.raises(ArgumentError, match=r"has no weights: its features would be of random numbers"):
        open_model(name)
    torch.save(timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0).state_dict(), tmp_path / "w.pth")
    model = open_model(name, ModelSettings(weights=tmp_path / "w.pth"), size=64)
    assert model.configuration.mean == tuple(timm.get_pretrained_cfg("vit_tiny_patch16_224").mean)
    assert embed(few, model)[0].shape == (6, 192)


def test_a_model_without_weights_is_refused_and_a_hub_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for timm, which tests need not install."""
    asked = []

    def create_model(name: str, **options: Any) -> torch.nn.Module:
        asked.append((name, options))
        return patches()

    package: Any = types.ModuleType("timm")
    package.create_model, package.is_model = create_model, lambda name: name == "vit"
    package.get_pretrained_cfg = lambda _: types.SimpleNamespace(input_size=(3, 32, 32))
    monkeypatch.setitem(sys.modules, "timm", package)
    with pytest.raises(ArgumentError, match=r"timm:vit has no weights: its features would be of random numbers"):
        open_model("timm:vit")
    assert asked == []
    open_model("timm:vit", ModelSettings(pretrained=True))
    open_model("hf-hub:lab/one", size=64)
    assert asked == [
        ("vit", {"img_size": 32, "pretrained": True, "num_classes": 0}),
        ("hf-hub:lab/one", {"img_size": 64, "pretrained": True, "num_classes": 0}),
    ]
