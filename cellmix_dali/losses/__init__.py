"""Losses for what mixed batches have: soft labels, further targets, survival, tokens and class masks."""

from .mixed_targets import MultiLabelLoss, RegressionLoss
from .places import MaskLoss, TokenLoss, token_labels
from .soft import SoftCrossEntropy, SoftTargetCrossEntropy
from .survival import CoxLoss, DiscreteSurvivalLoss

__all__ = [
    "CoxLoss",
    "DiscreteSurvivalLoss",
    "MaskLoss",
    "MultiLabelLoss",
    "RegressionLoss",
    "SoftCrossEntropy",
    "SoftTargetCrossEntropy",
    "TokenLoss",
    "token_labels",
]
