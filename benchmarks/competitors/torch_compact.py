"""The layers of `compact` in PyTorch, with random weights, and photos for its DataLoader: for timing predictions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

FIRST_KERNEL_SIZE = 4  # pixels
PAIRS_PER_STAGE = 2


class Photos(Dataset[torch.Tensor]):
    """Photos as (3, size, size) float32, 0-1."""

    def __init__(self, paths: Sequence[str], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as image:
            resized = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1).float().div(255)  # (h, w, c) -> (c, h, w)


class ResidualPair(nn.Module):
    """Two convolutions with a skip connection."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*conv_and_norm(filters, filters), nn.ReLU(), *conv_and_norm(filters, filters))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(images + self.branch(images))


def build_compact(filters: Sequence[int], *, num_classes: int) -> nn.Sequential:
    """The network.

    Args:
        filters: of the first convolution, of each stage, of the last convolution.
        num_classes: outputs of the last layer.
    """
    layers: list[nn.Module] = [
        *conv_and_norm(3, filters[0], kernel_size=FIRST_KERNEL_SIZE, stride=2, padding=1),
        nn.ReLU(),
    ]
    for channels, count in pairwise(filters[:-1]):
        layers += [
            *conv_and_norm(channels, count, stride=2),
            nn.ReLU(),
            *(ResidualPair(count) for _ in range(PAIRS_PER_STAGE)),
        ]
    layers += [*conv_and_norm(filters[-2], filters[-1], stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(filters[-1], num_classes))


def conv_and_norm(
    channels: int, filters: int, *, kernel_size: int = 3, stride: int = 1, padding: int = 1
) -> list[nn.Module]:
    """A convolution and batch normalisation."""
    return [nn.Conv2d(channels, filters, kernel_size, stride, padding, bias=False), nn.BatchNorm2d(filters)]
