"""Feed lightly: its DINO, head, loss and schedule, on views that come straight from slides.

    pip install lightly
    python examples/lightly_dino.py FOLDER [--steps 200]

FOLDER holds slides, and no labels are needed. lightly's transforms and its DataLoader are not used: `view_loader` takes
their place. Its losses want a list with one tensor for each view; `.chunk` makes it of the views of a name.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.utils.scheduler import cosine_schedule
from small_dino import TILE, WIDTH, make_encoder
from torch import Tensor, nn

from cellmix_dali import view_loader
from cellmix_dali.augment import View
from cellmix_dali.sampling import Places, PlaceSettings, tissue_of_slides

AUGMENT = [
    "flip",
    {"hed_jitter": {"alpha": 0.1, "beta": 0.01}},
    {"greyscale": {"p": 0.2}},
    {"gaussian_blur": {"p": 0.2}},
]
VIEWS = (
    View("global", 64, count=2, scale=(0.3, 1.0), augment=AUGMENT),
    View("local", 32, count=4, scale=(0.1, 0.3), augment=AUGMENT),
)
PROTOTYPES = 256


class Dino(nn.Module):
    """An encoder with lightly's head; any backbone of timm or torchvision can take the encoder's place."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = make_encoder()
        self.head = DINOProjectionHead(WIDTH, 256, 64, PROTOTYPES, batch_norm=True, freeze_last_layer=1)

    def forward(self, views: Tensor, count: int) -> list[Tensor]:
        """Return one tensor for each of so many views."""
        return list(self.head(self.encoder(views)).chunk(count))


def main() -> None:
    """Pretrain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--report-every", type=int, default=20, metavar="STEPS")
    parser.add_argument("--out", type=Path, default=Path("lightly-dino.pt"), help="the teacher's encoder")
    args = parser.parse_args()
    slides = sorted(path for path in args.folder.iterdir() if path.suffix in {".svs", ".tif", ".tiff"})
    places = Places(tissue_of_slides(slides), PlaceSettings(TILE, by="slide", mpp=0.5))

    torch.manual_seed(0)
    student = Dino()
    teacher = Dino()
    teacher.load_state_dict(student.state_dict())
    deactivate_requires_grad(teacher)
    criterion = DINOLoss(PROTOTYPES, warmup_teacher_temp_epochs=5)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.04)
    done = 0
    with view_loader(places, VIEWS, batch_size=args.batch_size, steps=args.report_every) as loader:
        while done < args.steps:
            epoch, total = done // len(loader), 0.0
            for batch in loader:
                momentum = cosine_schedule(done, args.steps, 0.99, 1.0)
                with torch.no_grad():
                    wanted = teacher(batch["global"], 2)
                found = student(batch["global"], 2) + student(batch["local"], 4)
                loss = criterion(wanted, found, epoch=epoch)
                optimizer.zero_grad()
                loss.backward()
                student.head.cancel_last_layer_gradients(current_epoch=epoch)
                optimizer.step()
                update_momentum(student, teacher, m=momentum)
                total, done = total + loss.item(), done + 1
            print(f"step {done}: loss {total / len(loader):.3f}; {loader.timing()}", flush=True)
    torch.save(teacher.encoder.state_dict(), args.out)
    print(f"{args.out} holds the teacher's encoder")


if __name__ == "__main__":
    main()
