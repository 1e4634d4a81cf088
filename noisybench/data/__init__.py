"""Datasets, splits and loaders."""

from noisybench.data.datasets import Dataset, Images, load_dataset, order_fingerprint
from noisybench.data.splits import SplitInput, Splits, split

__all__ = ["Dataset", "Images", "SplitInput", "Splits", "load_dataset", "order_fingerprint", "split"]
