"""The verb `demo`: train, evaluate, explain and predict on handwritten digits, in a minute."""

from __future__ import annotations

from pathlib import Path

from convscope.datasets.cache import cache_folder
from convscope.datasets.digits import write_digits
from convscope.environment import program_name
from convscope.evaluation.evaluation import describe, evaluate
from convscope.explanation.explanation import explain
from convscope.prediction.prediction import predict
from convscope.recipe.recipe import Recipe
from convscope.run import Run
from convscope.training.training import train

# digits are 8 x 8: at 32 pixels the network has room for its three poolings
RECIPE = Recipe(network="classic", image_size=32, channels=1, learning_rate=1e-3, epochs=25, validation=0.12, test=0.15)


def demo(out: Path | None = None) -> Run:
    """Walk the whole path on scikit-learn's handwritten digits, and print where everything is.

    Args:
        out: the run folder; None: the next free `runs/N`.

    Returns: the run.
    """
    data = write_digits(cache_folder() / "digits")
    run = train(data, RECIPE, out=out)
    print(describe(evaluate(run.path)))
    report = explain(run.path)
    predictions = predict(run.path, [str(data)], out=run.path / "predictions.csv")
    print(f"""
images       {data}
model        {run.model / "model.onnx"}
metrics      {run.path / "metrics.json"}
predictions  {predictions.out} ({predictions.count:,} images)
report       {report}

the same on your own photos, one folder per class:
  {program_name()} train PHOTOS --out runs/first
  {program_name()} evaluate runs/first
  {program_name()} explain runs/first
  {program_name()} predict runs/first NEW_PHOTOS --out predictions.csv""")
    return run
