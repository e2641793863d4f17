"""convscope itself: its trainings, the pace of its steps, what many photos cost it, and how soon it is at work."""

from __future__ import annotations

import json
import time
from pathlib import Path

from contenders.child import Report, Task, answer, peak_bytes, since, summary
from convscope.cli.commands import loading_tensorflow
from convscope.run import Run

with loading_tensorflow():  # as `convscope train` does
    from convscope import Learner, Recipe, train
    from convscope.networks.catalog import count_operations
    from convscope.training.budget import time_steps

WARMUP_STEPS = 15  # of a burst
TRAINED_OVER_FORWARD = 3  # operations of a training step: forward, gradient of the inputs, gradient of the weights


def learn(task: Task, report: Report) -> None:
    """Train `compact` with a budget, as `train DATA --network compact --budget ...` does; tell history and peak memory.

    Seconds run from the first step on, evaluations and checkpoints included; probing and compiling come before. The
    model is judged once more with mirror images, as `evaluate --mirror` does.
    """
    recipe = recipe_of(task, "compact").with_changes({"budget": task.seconds})
    run = train(Path(task.data), recipe, out=Path(task.out), cache=Path(task.cache))
    tell_history(task, report, run)
    trained = peak_bytes("self")

    from convscope import evaluate  # here: it is no part of a training, whose start is timed

    mirrored = evaluate(run.path, split="validation", mirror=True).metrics
    report.tell("judged", judged_images=mirrored.count, mirrored=mirrored.accuracy.to_json(), peak_bytes=trained)


def cost(task: Task, report: Report) -> None:
    """Train `compact` for a few steps, from listing the photos to the model."""
    recipe = recipe_of(task, "compact").with_changes({"steps": task.steps})
    run = train(Path(task.data), recipe, out=Path(task.out), cache=Path(task.cache))
    tell_history(task, report, run)
    report.tell("cost", seconds=since(task.started))


def burst(task: Task, report: Report) -> None:
    """Time `task.steps` steps of `classic` after a few that warm up; its batches are made meanwhile."""
    recipe = recipe_of(task, "classic")
    learner = Learner.open(Path(task.data), recipe, cache=Path(task.cache))
    steps = learner.steps(WARMUP_STEPS + task.steps)
    for _ in range(WARMUP_STEPS):
        next(steps)
    started = time.perf_counter()
    for _ in range(task.steps):
        next(steps)
    report.tell("burst", images=task.steps * learner.recipe.batch_size, seconds=time.perf_counter() - started)
    steps.close()


def pace(task: Task, report: Report) -> None:
    """Time `task.steps` training steps of `compact` at each of `task.sizes`."""
    learner = Learner.open(Path(task.data), recipe_of(task, "compact"), cache=Path(task.cache))
    batch = learner.recipe.batch_size
    for size in task.sizes:
        seconds = time_steps(learner, size=size, count=task.steps)
        operations = TRAINED_OVER_FORWARD * batch * count_operations(learner.model, size) / 1e9
        report.tell(
            "step",
            size=size,
            precision=learner.recipe.precision,
            batch=batch,
            gflop=operations,
            gflop_per_second=summary([operations / each for each in seconds]),
            images_per_second=summary([batch / each for each in seconds]),
        )


def recipe_of(task: Task, network: str) -> Recipe:
    """A network's own recipe, in the precision and with the choices that are asked for."""
    recipe = Recipe(network=network, seed=task.seed, **task.choices)
    return recipe.with_changes({"precision": task.precision} if task.precision else {})


def tell_history(task: Task, report: Report, run: Run) -> None:
    """A run's start and its accuracy after each epoch, by the clock of its log."""
    events = [json.loads(line) for line in run.log_file.read_text(encoding="utf-8").splitlines()]
    began = next(event for event in events if event["event"] == "start")
    offset = time.time() - time.monotonic()
    start_seconds = round(began["time"] - offset - task.started, 3)
    stepped = next(event for event in events if event["event"] == "first_step")
    report.tell(
        "start",
        start_seconds=start_seconds,
        first_step_seconds=round(start_seconds + stepped["time"] - began["time"], 3),
        weights=began["parameters"],
    )
    for event in events:
        if event["event"] == "epoch":
            seconds, step = event["time"] - began["time"], event["step"]
            images = step * run.recipe.batch_size
            report.tell_point(seconds=seconds, step=step, images=images, accuracy=event["val_accuracy"])


if __name__ == "__main__":
    answer({"learn": learn, "cost": cost, "burst": burst, "steps": pace})
