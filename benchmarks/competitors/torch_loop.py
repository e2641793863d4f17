"""The reference network as PyTorch's tutorials train it: a Dataset, a DataLoader with two workers, a plain loop.

With the two switches that its documentation names for CPUs: channels_last, and the fused Adam.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from competitors.matrix_peak import torch_products
from competitors.protocol import Report, Stopwatch, Task, run_task, seconds_since
from competitors.reference_network import (
    BATCH_SIZE,
    DENSE_UNITS,
    EVALUATION_BATCH_SIZE,
    FILTERS,
    INITIAL_DEVIATION,
    LEARNING_RATE,
    SIZE,
    list_photos,
    read_photo,
)

WORKERS = 2


class Photos(Dataset[tuple[torch.Tensor, int]]):
    """A folder of class folders; an image is (3, SIZE, SIZE) float32, 0-1."""

    def __init__(self, folder: Path) -> None:
        self.paths, self.labels, self.num_classes = list_photos(folder)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.tensor(read_photo(self.paths[index]))
        return image.permute(2, 0, 1).float().div(255), int(self.labels[index])  # (h, w, c) -> (c, h, w)


def train(task: Task, report: Report) -> None:
    """Train for `task.seconds`, and evaluate after each epoch."""
    torch.manual_seed(task.seed)
    training_photos, validation_photos = Photos(Path(task.data) / "train"), Photos(Path(task.data) / "validation")
    training = DataLoader(
        training_photos, BATCH_SIZE, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True
    )
    validation = DataLoader(validation_photos, EVALUATION_BATCH_SIZE, num_workers=WORKERS)
    model = build_model(training_photos.num_classes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    loss = nn.CrossEntropyLoss()
    stopwatch, step = None, 0
    for _ in itertools.count():
        for images, labels in training:
            optimizer.zero_grad()
            loss(model(images.to(memory_format=torch.channels_last)), labels).backward()
            optimizer.step()
            step += 1
            if stopwatch is None:
                weights = sum(parameter.numel() for parameter in model.parameters())
                report.send("start", start_seconds=seconds_since(task.started), weights=weights)
                stopwatch = Stopwatch()
            if stopwatch.read() >= task.seconds:
                break
        if stopwatch is None:
            raise ValueError(f"found {len(training_photos)} photos; expected a batch of {BATCH_SIZE}")
        seconds = stopwatch.pause()
        accuracy = evaluate(model, validation, len(validation_photos))
        report.send_point(seconds=seconds, step=step, images=step * BATCH_SIZE, accuracy=accuracy)
        if seconds >= task.seconds:
            return
        stopwatch.resume()


def evaluate(model: nn.Module, batches: Any, num_images: int) -> float:
    """The accuracy on batches of `num_images` in all."""
    model.eval()
    num_correct = 0
    with torch.inference_mode():
        for images, labels in batches:
            predicted = model(images.to(memory_format=torch.channels_last)).argmax(dim=1)
            num_correct += int((predicted == labels).sum())
    model.train()
    return num_correct / num_images


def build_model(num_classes: int) -> nn.Sequential:
    """The reference network with the reference's initializers."""
    layers: list[nn.Module] = []
    channels = 3
    for filters in FILTERS:
        layers += [nn.Conv2d(channels, filters, 3, padding="same"), nn.MaxPool2d(2), nn.ReLU()]
        channels = filters
    side = SIZE // 2 ** len(FILTERS)
    layers += [nn.Flatten(), nn.Linear(channels * side * side, DENSE_UNITS), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(DENSE_UNITS, num_classes))
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
            nn.init.trunc_normal_(
                layer.weight, std=INITIAL_DEVIATION, a=-2 * INITIAL_DEVIATION, b=2 * INITIAL_DEVIATION
            )
            nn.init.constant_(layer.bias, INITIAL_DEVIATION)
    return model


if __name__ == "__main__":
    run_task({"train": train, "products": torch_products})
