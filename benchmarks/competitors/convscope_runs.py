"""convscope itself: trainings, the speed of its steps, the cost of many photos, and the time to the first step."""

from __future__ import annotations

import json
import time
from pathlib import Path

from summaries import summarize

from competitors.protocol import Report, Task, peak_bytes, run_task, seconds_since
from convscope.cli.commands import loading_tensorflow
from convscope.run import Run

with loading_tensorflow():  # as `convscope train` does
    from convscope import Learner, Recipe, train
    from convscope.networks.catalog import count_operations
    from convscope.training.budget import time_steps

WARMUP_STEPS = 15  # of a burst
TRAINING_OVER_FORWARD = 3  # operations of a training step: forward, gradient of the inputs, gradient of the weights


def train_compact(task: Task, report: Report) -> None:
    """Train as `train DATA --network compact --budget ...` does; report the learning curve and the peak memory.

    Seconds count from the first step, evaluations and checkpoints included; planning the budget and compiling come
    before. The model is evaluated once more with horizontal flips averaged, as `evaluate --mirror` does.
    """
    recipe = recipe_for(task, "compact").with_changes({"budget": task.seconds})
    run = train(Path(task.data), recipe, out=Path(task.out), cache=Path(task.cache))
    send_history(task, report, run)
    peak_of_training = peak_bytes("self")

    from convscope import evaluate  # not at the top: training does not need it, and its start is timed

    flipped = evaluate(run.path, split="validation", mirror=True).metrics
    # the keys are those of fastest.json
    report.send(
        "evaluated", judged_images=flipped.count, mirrored=flipped.accuracy.to_json(), peak_bytes=peak_of_training
    )


def measure_cost(task: Task, report: Report) -> None:
    """Train `compact` for a few steps, from listing the photos to the saved model."""
    recipe = recipe_for(task, "compact").with_changes({"steps": task.steps})
    run = train(Path(task.data), recipe, out=Path(task.out), cache=Path(task.cache))
    send_history(task, report, run)
    report.send("cost", seconds=seconds_since(task.started))


def time_burst(task: Task, report: Report) -> None:
    """Time `task.steps` steps of `classic` after the warm-up, while the next batches are prepared."""
    recipe = recipe_for(task, "classic")
    learner = Learner.open(Path(task.data), recipe, cache=Path(task.cache))
    steps = learner.steps(WARMUP_STEPS + task.steps)
    for _ in range(WARMUP_STEPS):
        next(steps)
    started = time.perf_counter()
    for _ in range(task.steps):
        next(steps)
    report.send("burst", images=task.steps * learner.recipe.batch_size, seconds=time.perf_counter() - started)
    steps.close()


def time_compact_steps(task: Task, report: Report) -> None:
    """Time `task.steps` training steps of `compact` at each of `task.sizes`."""
    learner = Learner.open(Path(task.data), recipe_for(task, "compact"), cache=Path(task.cache))
    batch_size = learner.recipe.batch_size
    for size in task.sizes:
        step_seconds = time_steps(learner, size=size, count=task.steps)
        gflop = TRAINING_OVER_FORWARD * batch_size * count_operations(learner.model, size) / 1e9
        report.send(
            "step",
            size=size,
            precision=learner.recipe.precision,
            batch=batch_size,
            gflop=gflop,
            gflop_per_second=summarize([gflop / seconds for seconds in step_seconds]),
            images_per_second=summarize([batch_size / seconds for seconds in step_seconds]),
        )


def recipe_for(task: Task, network: str) -> Recipe:
    """A network's default recipe, with the precision and the choices of the task."""
    recipe = Recipe(network=network, seed=task.seed, **task.choices)
    return recipe.with_changes({"precision": task.precision} if task.precision else {})


def send_history(task: Task, report: Report, run: Run) -> None:
    """Report a run's start and its accuracy after each epoch, by the timestamps of its log."""
    events = [json.loads(line) for line in run.log_file.read_text(encoding="utf-8").splitlines()]
    start = next(event for event in events if event["event"] == "start")
    first_step = next(event for event in events if event["event"] == "first_step")
    clock_offset = time.time() - time.monotonic()
    start_seconds = round(start["time"] - clock_offset - task.started, 3)
    report.send(
        "start",
        start_seconds=start_seconds,
        first_step_seconds=round(start_seconds + first_step["time"] - start["time"], 3),
        weights=start["parameters"],
    )
    for event in events:
        if event["event"] == "epoch":
            seconds, step = event["time"] - start["time"], event["step"]
            images = step * run.recipe.batch_size
            report.send_point(seconds=seconds, step=step, images=images, accuracy=event["val_accuracy"])


if __name__ == "__main__":
    run_task({"train": train_compact, "cost": measure_cost, "burst": time_burst, "steps": time_compact_steps})
