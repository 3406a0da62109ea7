"""A small DINO (Caron et al., arXiv 2104.14294): the network, the loss, and a probe; for pretrain_dino.py beside it."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional
from train_classifier import CLASSES

from cellmix_dali import TileRecipe, TileTable, evaluate_loader, lay_tiles, open_slide

TILE, WIDTH, PROTOTYPES = 128, 128, 64


def make_encoder() -> nn.Module:
    """Any model that gives features will do, of views of every size."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, WIDTH)):
        layers += [nn.Conv2d(before, after, 5, stride=2, padding=2), nn.GroupNorm(8, after), nn.GELU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Prototypes(nn.Module):
    """How near features are to each of some prototypes: cosines."""

    def __init__(self) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(PROTOTYPES, 64))

    def forward(self, features: Tensor) -> Tensor:
        """Return cosines (batch, PROTOTYPES)."""
        return functional.normalize(features, dim=1) @ functional.normalize(self.prototypes, dim=1).T


def make_network() -> nn.Sequential:
    """The encoder, and a head that compares with prototypes; without its batch norm all views would soon be alike."""
    spread = nn.BatchNorm1d(WIDTH, affine=False)
    head = nn.Sequential(spread, nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 64))
    return nn.Sequential(make_encoder(), head, Prototypes())


def balanced(scores: Tensor, rounds: int = 3) -> Tensor:
    """What the teacher wants of each view: shares of prototypes, each as much used as others over all ranks' views.

    Sinkhorn-Knopp centring, as DINOv2's. With DINO's moving mean the loss falls, rises, and falls again.
    """
    shares = torch.exp((scores - 1) / 0.05)  # cosines are at most 1
    for _ in range(rounds):
        used = shares.sum(dim=0)
        if dist.is_initialized():
            dist.all_reduce(used)
        shares = functional.normalize(shares / used, p=1, dim=1)
    return shares


def dino_loss(student: Tensor, wanted: Tensor, batch: int) -> Tensor:
    """The cross-entropy of all pairs of what a teacher's view wants and another student's view."""
    targets, views = wanted.split(batch), functional.log_softmax(student / 0.1, dim=1).split(batch)
    pairs = [(t, s) for n, t in enumerate(targets) for m, s in enumerate(views) if n != m]
    return torch.stack([-(t * s).sum(dim=1).mean() for t, s in pairs]).mean()


def features_of(tables: list[TileTable], encoder: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """The encoder's features of labelled tiles, their mean colours and deviations, and their labels."""
    found, colours, labels = [], [], []
    with evaluate_loader(TileTable.concat(tables), batch_size=64, rank=0, world_size=1) as loader, torch.no_grad():
        for batch in loader:
            images = batch["images"]
            found.append(functional.normalize(encoder(images), dim=1))
            colours.append(torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1))
            labels.append(batch["labels"])
    return torch.cat(found), torch.cat(colours), torch.cat(labels)


def nearest(known: Tensor, labels: Tensor, asked: Tensor, truth: Tensor, k: int = 11) -> float:
    """The share of tiles whose k nearest neighbours among the known ones are mostly of their class."""
    votes = labels[torch.cdist(asked, known).topk(k, largest=False).indices]
    return float((votes.mode(dim=1).values == truth).float().mean())


def labelled_tiles(slide_path: Path) -> TileTable:
    """The tiles of a slide that its annotations label."""
    recipe = TileRecipe(TILE, tissue=0, annotations=slide_path.parent, classes=CLASSES)
    with open_slide(slide_path) as slide:
        return lay_tiles(slide, recipe).table


def probe(slides: list[Path], encoder: nn.Module, picture: Path) -> tuple[float, float]:
    """Classify the last slide's tiles by their neighbours on the others, by features and by colours; draw them."""
    known, known_colours, labels = features_of([labelled_tiles(path) for path in slides[:-1]], encoder)
    asked, asked_colours, truth = features_of([labelled_tiles(slides[-1])], encoder)
    spread = known_colours.std(dim=0)
    by_colour = nearest(known_colours / spread, labels, asked_colours / spread, truth)
    components = (asked - asked.mean(dim=0)) @ torch.pca_lowrank(asked, q=2)[2]
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for label, name in enumerate(CLASSES):
        axes.scatter(*components[truth == label].T, s=12, label=name)
    axes.set(xlabel="first component", ylabel="second component", title="Features of the held-out slide")
    axes.legend()
    figure.savefig(picture, dpi=120)
    return nearest(known, labels, asked, truth), by_colour
