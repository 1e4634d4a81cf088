"""A mixture of two normal distributions over per-sample losses: which samples are probably labelled right.

Li, Socher & Hoi, ICLR 2020 (DivideMix): wrong labels are learned later, so their losses form the upper component.
"""

from __future__ import annotations

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor


def rescale(losses: Tensor) -> Tensor:
    """(l − min)/(max − min) (n); zeros where all losses are equal."""
    low, high = losses.min(), losses.max()
    return (losses - low) / (high - low).clamp_min(torch.finfo(losses.dtype).tiny)


def clean_probability(losses: Tensor) -> Tensor:
    """The probability (n, float64) that each loss comes from the component with the lower mean.

    Settings of the released code of DivideMix. The fit has a fixed seed, so processes that hold the same losses find
    the same mixture. Losses that are all equal cannot be split: every sample counts as clean then.

    Args:
        losses: n, scaled to [0, 1].
    """
    if losses.min() == losses.max():
        return torch.ones_like(losses, dtype=torch.float64)
    values = losses.double().cpu().numpy()[:, None]
    mixture = GaussianMixture(n_components=2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    with warnings.catch_warnings():
        # Ten iterations are the authors' choice, converged or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(values)
    low = int(mixture.means_[:, 0].argmin())
    return torch.from_numpy(mixture.predict_proba(values)[:, low]).to(losses.device)
