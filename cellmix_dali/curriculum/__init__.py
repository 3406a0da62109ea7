"""The curriculum of CellMix: which patch size and which fix ratio an epoch trains with.

`Curriculum` is Algorithm 1 of the paper (arXiv 2301.11513), stepped once per epoch with the mean loss per
sample. `patch_scheduler` and `ratio_scheduler` take the place of the classes of these names in the authors'
code and return what those return, call for call.
"""

from cellmix_dali.curriculum.authors import patch_scheduler, ratio_scheduler
from cellmix_dali.curriculum.curriculum import PATCH_STRATEGIES, RATIO_STRATEGIES, Curriculum
from cellmix_dali.curriculum.patch_sizes import legal_patch_sizes

__all__ = [
    "Curriculum",
    "PATCH_STRATEGIES",
    "RATIO_STRATEGIES",
    "legal_patch_sizes",
    "patch_scheduler",
    "ratio_scheduler",
]
