"""The same network the way PyTorch teaches it: a Dataset, a DataLoader with two workers, a plain loop.

With the two switches that its documentation names for CPUs: channels_last, and the fused Adam.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from contenders.child import Report, Stopwatch, Task, answer, since
from contenders.photos import (
    BATCH_SIZE,
    DENSE_UNITS,
    DEVIATION,
    FILTERS,
    LEARNING_RATE,
    SIZE,
    list_photos,
    read_photo,
)
from contenders.products import torch_products

WORKERS = 2
JUDGED_AT_ONCE = 250  # images


class Photos(Dataset[tuple[torch.Tensor, int]]):
    """A folder of class folders; an image is (3, SIZE, SIZE) float32, 0-1."""

    def __init__(self, folder: Path) -> None:
        self.paths, self.labels, self.num_classes = list_photos(folder)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.tensor(read_photo(self.paths[index]))
        return image.permute(2, 0, 1).float().div(255), int(self.labels[index])  # (h, w, c) -> (c, h, w)


def learn(task: Task, report: Report) -> None:
    """Learn for `task.seconds`, and judge after each epoch."""
    torch.manual_seed(task.seed)
    photos, unseen = Photos(Path(task.data) / "train"), Photos(Path(task.data) / "validation")
    train = DataLoader(photos, BATCH_SIZE, shuffle=True, drop_last=True, num_workers=WORKERS, persistent_workers=True)
    validation = DataLoader(unseen, JUDGED_AT_ONCE, num_workers=WORKERS)
    model = build(photos.num_classes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    measure = nn.CrossEntropyLoss()
    watch, step = None, 0
    for _ in itertools.count():
        for images, labels in train:
            optimizer.zero_grad()
            measure(model(images.to(memory_format=torch.channels_last)), labels).backward()
            optimizer.step()
            step += 1
            if watch is None:
                weights = sum(each.numel() for each in model.parameters())
                report.tell("start", start_seconds=since(task.started), weights=weights)
                watch = Stopwatch()
            if watch.read() >= task.seconds:
                break
        if watch is None:
            raise ValueError(f"found {len(photos)} photos; expected a batch of {BATCH_SIZE}")
        seconds = watch.stop()
        report.tell_point(
            seconds=seconds, step=step, images=step * BATCH_SIZE, accuracy=judge(model, validation, len(unseen))
        )
        if seconds >= task.seconds:
            return
        watch.go_on()


def judge(model: nn.Module, batches: Any, count: int) -> float:
    """The share of right answers."""
    model.eval()
    with torch.inference_mode():
        answers = (
            (model(images.to(memory_format=torch.channels_last)).argmax(dim=1) == labels).sum()
            for images, labels in batches
        )
        correct = sum(int(each) for each in answers)
    model.train()
    return correct / count


def build(num_classes: int) -> nn.Sequential:
    """The reference network, its first weights drawn as the reference's are."""
    parts: list[nn.Module] = []
    channels = 3
    for filters in FILTERS:
        parts += [nn.Conv2d(channels, filters, 3, padding="same"), nn.MaxPool2d(2), nn.ReLU()]
        channels = filters
    side = SIZE // 2 ** len(FILTERS)
    parts += [nn.Flatten(), nn.Linear(channels * side * side, DENSE_UNITS), nn.ReLU()]
    model = nn.Sequential(*parts, nn.Linear(DENSE_UNITS, num_classes))
    for each in model.modules():
        if isinstance(each, (nn.Conv2d, nn.Linear)) and each.bias is not None:
            nn.init.trunc_normal_(each.weight, std=DEVIATION, a=-2 * DEVIATION, b=2 * DEVIATION)
            nn.init.constant_(each.bias, DEVIATION)
    return model


if __name__ == "__main__":
    answer({"learn": learn, "products": torch_products})
