"""Attention MIL on the features of slides, cross-validated over the folds of a CSV: the page to copy from.

    cellmix-dali embed slides/ --model ... --mpp 0.5 --out features
    python examples/attention_mil.py features slides.csv [--epochs 30]

slides.csv: slide,label,fold[,patient]. A bag is a patient where there is such a column, else a slide. The model is the
gated attention of Ilse et al., "Attention-based deep multiple instance learning", ICML 2018.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from cellmix_dali.embedding import BagLoader, FeatureBags, bag_loader
from cellmix_dali.tables import SlideList, read_slide_list


class AttentionMil(nn.Module):
    """One vector for a bag: the mean of its tiles, weighed by what the model attends to."""

    def __init__(self, width: int, classes: int, hidden: int = 64) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.1))
        self.value, self.gate = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.score, self.head = nn.Linear(hidden, 1), nn.Linear(hidden, classes)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return class scores (batch, classes) and attention (batch, tiles)."""
        tiles = self.reduce(features)
        scores = self.score(torch.tanh(self.value(tiles)) * torch.sigmoid(self.gate(tiles)))[..., 0]
        attention = scores.masked_fill(~mask, -torch.inf).softmax(dim=1)
        return self.head((attention[..., None] * tiles).sum(dim=1)), attention


def bags_of_fold(slides: SlideList) -> dict[str, str]:
    """Return the fold of each bag."""
    if slides.fold is None:
        raise SystemExit("slides.csv needs a column 'fold'.")
    names = slides.patient or [path.stem for path in slides.slides]
    return dict(zip(names, slides.fold, strict=True))


def train(model: AttentionMil, loader: BagLoader, epochs: int) -> None:
    """Train on all bags of a loader."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    model.train()
    for _ in range(epochs):
        for batch in loader:
            scores, _ = model(batch["features"].float(), batch["mask"])
            loss = nn.functional.cross_entropy(scores, batch["label"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


@torch.inference_mode()
def predict(model: AttentionMil, loader: BagLoader) -> tuple[Tensor, Tensor]:
    """Return the predicted and the true class of each bag."""
    model.eval()
    found = [(model(batch["features"].float(), batch["mask"])[0].argmax(dim=1), batch["label"]) for batch in loader]
    predicted, label = (torch.cat([pair[of] for pair in found]) for of in (0, 1))
    return predicted, label


def main() -> None:
    """Train and test on each fold in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features")
    parser.add_argument("slides")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--most-tiles", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    slides, bags = read_slide_list(given.slides, check_files=False), FeatureBags(given.features)
    if slides.labels is None or slides.classes is None:
        raise SystemExit("slides.csv needs a column 'label'.")
    group = "slide" if slides.patient is None else "patient"
    fold_of, there = bags_of_fold(slides), set(bag_loader(bags, slides, group=group).names)
    folds, recalls = sorted(set(fold_of.values())), []
    for fold in folds:
        torch.manual_seed(given.seed)
        sides = [
            [name for name in fold_of if name in there and (fold_of[name] == fold) is held] for held in (False, True)
        ]
        training = bag_loader(
            bags,
            slides,
            group=group,
            only=sides[0],
            batch_size=8,
            most_tiles=given.most_tiles,
            shuffle=True,
            seed=given.seed,
        )
        held_out = bag_loader(bags, slides, group=group, only=sides[1], batch_size=8)
        model = AttentionMil(bags.read(0, torch.arange(1).numpy())[0].shape[1], len(slides.classes))
        train(model, training, given.epochs)
        predicted, label = predict(model, held_out)
        of_class = [(predicted == label)[label == each].float().mean().item() for each in label.unique()]
        recalls.append(sum(of_class) / len(of_class))
        print(f"fold {fold}: {len(label)} bags, balanced accuracy {recalls[-1]:.3f}")
    print(f"balanced accuracy {sum(recalls) / len(recalls):.3f} over {len(folds)} folds")


if __name__ == "__main__":
    main()
