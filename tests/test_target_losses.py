"""Losses of further targets, tokens and masks, each against plain sums written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cellmix_dali.errors import ArgumentError
from cellmix_dali.losses import (
    CoxLoss,
    DiscreteSurvivalLoss,
    MaskLoss,
    MultiLabelLoss,
    RegressionLoss,
    SoftTargetCrossEntropy,
    TokenLoss,
    token_labels,
)

RANDOM = torch.Generator().manual_seed(0)
BATCH = 6


def some(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=RANDOM, dtype=torch.float64)


def mixing_matrix() -> Tensor:
    weights = torch.rand(BATCH, BATCH, generator=RANDOM, dtype=torch.float64)
    weights = weights * (weights > 0.6) + torch.eye(BATCH)
    weights[:, 2] = 0  # nothing of sample 2 is left anywhere
    return weights / weights.sum(dim=1, keepdim=True)


def survival() -> Tensor:
    times = torch.tensor([3.0, 1.0, 5.0, 3.0, 8.0, 2.0], dtype=torch.float64)  # two at 3
    return torch.stack([times, torch.tensor([1.0, 0, 1, 1, 0, 1], dtype=torch.float64)], dim=1)


def test_several_labels() -> None:
    logits, target = some(BATCH, 3), torch.rand(BATCH, 3, generator=RANDOM, dtype=torch.float64)
    share = torch.sigmoid(logits)
    each = -(target * share.log() + (1 - target) * (1 - share).log())
    torch.testing.assert_close(MultiLabelLoss()(logits, target), each.mean())
    torch.testing.assert_close(MultiLabelLoss("sum")(logits, target), each.mean(dim=1).sum())


@pytest.mark.parametrize(
    ("error", "plain"),
    [
        ("squared", lambda off: off * off),
        ("absolute", abs),
        ("huber", lambda off: off * off / 2 if abs(off) <= 0.5 else 0.5 * (abs(off) - 0.25)),
    ],
)
def test_numbers(error: str, plain: Callable[[float], float]) -> None:
    found, wanted = some(BATCH, 2), some(BATCH, 2)
    each = torch.tensor([[plain(float(value)) for value in row] for row in found - wanted], dtype=torch.float64)
    torch.testing.assert_close(RegressionLoss(error, delta=0.5)(found, wanted), each.mean())
    torch.testing.assert_close(RegressionLoss(error, "sum", delta=0.5)(found, wanted), each.mean(dim=1).sum())


def plain_cox(risk: list[float], times: list[float], events: list[float], weights: list[float]) -> float:
    """Breslow's weighted partial likelihood of a list of observations."""
    total = 0.0
    for k in range(len(risk)):
        if events[k] and weights[k]:
            at_risk = sum(w * math.exp(r) for r, t, w in zip(risk, times, weights, strict=True) if t >= times[k])
            total += weights[k] * (risk[k] - math.log(at_risk))
    return -total / sum(w * e for w, e in zip(weights, events, strict=True))


@pytest.mark.parametrize("mixed", [False, True])
def test_cox_is_the_weighted_partial_likelihood_of_all_pairs(mixed: bool) -> None:
    risk, target = some(BATCH).requires_grad_(), survival()
    weights = mixing_matrix() if mixed else torch.eye(BATCH, dtype=torch.float64)
    pairs = [(i, j) for i in range(BATCH) for j in range(BATCH) if weights[i, j] > 0]
    want = plain_cox(
        [float(risk[i].detach()) for i, _ in pairs],
        [float(target[j, 0]) for _, j in pairs],
        [float(target[j, 1]) for _, j in pairs],
        [float(weights[i, j]) for i, j in pairs],
    )
    loss = CoxLoss()(risk, target, weights if mixed else None)
    assert float(loss.detach()) == pytest.approx(want, rel=1e-9)
    torch.testing.assert_close(CoxLoss()(risk[:, None], target, weights), loss)
    assert torch.autograd.gradcheck(lambda of: CoxLoss()(of, target, weights), (risk,))


def test_cox_of_extreme_risks_and_of_batches_without_events() -> None:
    risk = torch.tensor([300.0, -300.0, 0.0, 5.0, 80.0, -80.0], requires_grad=True)
    weights = mixing_matrix().float()
    loss = CoxLoss()(risk, survival().float(), weights)
    loss.backward()
    assert torch.isfinite(loss)
    assert risk.grad is not None
    assert torch.isfinite(risk.grad).all()
    censored = survival()
    censored[:, 1] = 0
    risk = some(BATCH).requires_grad_()
    loss = CoxLoss()(risk, censored, mixing_matrix())
    loss.backward()
    assert float(loss.detach()) == 0
    assert (risk.grad == 0).all()
    assert CoxLoss()(some(BATCH).half(), survival(), mixing_matrix()).dtype == torch.float32


@pytest.mark.parametrize("mixed", [False, True])
def test_discrete_survival_is_the_likelihood_of_all_pairs(mixed: bool) -> None:
    edges = (2.0, 3.0, 6.0)
    logits, target = some(BATCH, 4).requires_grad_(), survival()
    weights = mixing_matrix() if mixed else torch.eye(BATCH, dtype=torch.float64)
    hazards = torch.sigmoid(logits).detach()
    total = 0.0
    for i in range(BATCH):
        for j in range(BATCH):
            interval = sum(float(target[j, 0]) >= edge for edge in edges)  # 2 is in the second one, from 2 on
            seen = target[j, 1] == 1
            lived = math.prod(float(1 - hazards[i, s]) for s in range(interval + (not seen)))
            total -= float(weights[i, j]) * math.log(lived * (float(hazards[i, interval]) if seen else 1))
    loss = DiscreteSurvivalLoss(edges)(logits, target, weights if mixed else None)
    assert float(loss.detach()) == pytest.approx(total / BATCH, rel=1e-9)
    assert torch.autograd.gradcheck(lambda of: DiscreteSurvivalLoss(edges)(of, target, weights), (logits,))


def test_weights_of_class_indices_would_be_soft_labels() -> None:
    """The rule for survival is that of soft labels: a mean of losses is the loss of the mean, for cross-entropy."""
    logits, index, weights = some(BATCH, 3), torch.tensor([0, 1, 2, 0, 1, 2]), mixing_matrix()
    pairs = torch.stack(
        [
            torch.stack([torch.nn.functional.cross_entropy(logits[i][None], index[j][None]) for j in range(BATCH)])
            for i in range(BATCH)
        ]
    )
    soft = weights @ torch.nn.functional.one_hot(index).double()
    torch.testing.assert_close((weights * pairs).sum() / BATCH, SoftTargetCrossEntropy()(logits, soft))


def test_tokens() -> None:
    places = torch.tensor([[0, 1, -1, 0], [1, 1, 2, 2], [2, 0, 0, -1]])
    index, logits = torch.tensor([4, 1, 3]), some(3, 4, 5)
    assert token_labels(places, index).tolist() == [[4, 1, -100, 4], [1, 1, 3, 3], [3, 4, 4, -100]]
    cells = [(i, t) for i in range(3) for t in range(4) if places[i, t] >= 0]
    each = [-torch.log_softmax(logits[i, t], 0)[index[places[i, t]]] for i, t in cells]
    torch.testing.assert_close(TokenLoss()(logits, places, index), torch.stack(each).mean())
    soft = torch.softmax(some(3, 5), dim=1)
    each = [-(soft[places[i, t]] * torch.log_softmax(logits[i, t], 0)).sum() for i, t in cells]
    torch.testing.assert_close(TokenLoss()(logits, places, soft), torch.stack(each).mean())
    assert token_labels(places, soft)[0, 2].tolist() == [0.0] * 5
    nobody = torch.full_like(places, -1)
    for labels in (index, soft):
        assert float(TokenLoss()(logits, nobody, labels)) == 0


def test_masks() -> None:
    logits = some(2, 3, 4, 5)
    masks = torch.from_numpy(np.random.default_rng(0).choice([0, 1, 2, 255], (2, 4, 5)).astype(np.uint8))
    each = [
        -torch.log_softmax(logits[i, :, y, x], 0)[int(masks[i, y, x])]
        for i in range(2)
        for y in range(4)
        for x in range(5)
        if masks[i, y, x] != 255
    ]
    assert 0 < len(each) < 40
    torch.testing.assert_close(MaskLoss()(logits, masks), torch.stack(each).mean())
    assert float(MaskLoss()(logits, torch.full_like(masks, 255))) == 0


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: MultiLabelLoss("none"), "Unknown reduction 'none'"),
    (lambda: RegressionLoss("cubed"), "Unknown error 'cubed'"),
    (lambda: RegressionLoss(reduction="none"), "Unknown reduction"),
    (lambda: RegressionLoss("huber", delta=0.0), "delta=0.0"),
    (lambda: MultiLabelLoss()(torch.zeros(3, 2), torch.zeros(3, 1)), "do not fit predictions"),
    (lambda: RegressionLoss()(torch.zeros(3), torch.zeros(3, 1)), r"predictions\[:, None\]"),
    (lambda: CoxLoss()(torch.zeros(3, 2), torch.zeros(3, 2)), "give one per sample"),
    (lambda: CoxLoss()(torch.zeros(3), torch.zeros(3)), r"give \(batch, 2\), time and event"),
    (lambda: CoxLoss()(torch.zeros(3), torch.zeros(3, 2), torch.zeros(3)), "give the mixing matrix"),
    (lambda: DiscreteSurvivalLoss([]), "edges=.*one or more times"),
    (lambda: DiscreteSurvivalLoss([2.0, 1.0]), "that ascend"),
    (lambda: DiscreteSurvivalLoss([1.0, 1.0]), "that ascend"),
    (lambda: DiscreteSurvivalLoss([0.0, 1.0]), "edges=0.0"),
    (lambda: DiscreteSurvivalLoss([1.0])(torch.zeros(3, 3), torch.zeros(3, 2)), r"give \(batch, 2\)"),
    (lambda: token_labels(torch.zeros(3, 4), torch.zeros(2)), "does not fit labels"),
    (lambda: token_labels(torch.zeros(3, 4), torch.zeros(3)), "class indices are whole numbers"),
    (lambda: token_labels(torch.zeros(3, 4), torch.zeros(3, 2, dtype=torch.int64)), "shares are floating"),
    (
        lambda: TokenLoss()(torch.zeros(3, 5, 2), torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64)),
        "tokens without a class token",
    ),
    (lambda: TokenLoss()(torch.zeros(3, 4, 2), torch.zeros(3, 4), torch.zeros(3, 5)), "do not fit a map"),
    (lambda: MaskLoss()(torch.zeros(3, 2, 4, 4), torch.zeros(3, 4, 5)), "do not fit logits"),
    (lambda: MaskLoss()(torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1), 2)), "A mask has class 2, the logits have 2"),
]


@pytest.mark.parametrize(("make", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_refused(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        make()
