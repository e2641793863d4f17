"""The layers of `compact` in PyTorch, with random weights, and photos for its DataLoader: for timing predictions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

STEM = 4  # pixels: side of the first filters
PAIRS = 2  # residual pairs in each stage


class Photos(Dataset[torch.Tensor]):
    """Photos as (3, size, size) float32, 0-1."""

    def __init__(self, paths: Sequence[str], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            square = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(square)).permute(2, 0, 1).float().div(255)  # (h, w, c) -> (c, h, w)


class Pair(nn.Module):
    """Two convolutions around which the input goes."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(*normed(filters, filters), nn.ReLU(), *normed(filters, filters))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(images + self.inner(images))


def build(filters: Sequence[int], *, num_classes: int) -> nn.Sequential:
    """The network with these filters: of the first convolution, of each stage, of the last convolution."""
    parts: list[nn.Module] = [*normed(3, filters[0], kernel=STEM, stride=2, padding=1), nn.ReLU()]
    for before, count in pairwise(filters[:-1]):
        parts += [*normed(before, count, stride=2), nn.ReLU(), *(Pair(count) for _ in range(PAIRS))]
    parts += [*normed(filters[-2], filters[-1], stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts, nn.Linear(filters[-1], num_classes))


def normed(before: int, filters: int, *, kernel: int = 3, stride: int = 1, padding: int = 1) -> list[nn.Module]:
    """A convolution and its batch normalisation."""
    return [nn.Conv2d(before, filters, kernel, stride, padding, bias=False), nn.BatchNorm2d(filters)]
