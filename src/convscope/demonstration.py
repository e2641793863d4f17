"""The verb `demo`: train, evaluate, explain and predict on handwritten digits, in a minute."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convscope.datasets.cache import cache_folder
from convscope.datasets.digits import write_digits
from convscope.environment import program_name
from convscope.evaluation.evaluation import Evaluation, evaluate
from convscope.evaluation.text_report import describe
from convscope.explanation.explanation import explain
from convscope.prediction.prediction import PredictionSummary, predict
from convscope.recipe.recipe import Recipe
from convscope.run import Run
from convscope.training.training import train

# digits are 8 x 8: at 32 pixels the network has room for its three poolings
RECIPE = Recipe(network="classic", image_size=32, channels=1, learning_rate=1e-3, epochs=25, validation=0.12, test=0.15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """The results of `demo`.

    Attributes:
        data: the folder of images.
        run: the run folder.
        evaluation: on the test images.
        report: the file report.html.
        predictions: of all images.
    """

    data: Path
    run: Run
    evaluation: Evaluation
    report: Path
    predictions: PredictionSummary

    def describe(self) -> str:
        """The metrics, the paths of all results, and the commands that do the same for other images."""
        program = program_name()
        return f"""{describe(self.evaluation)}

images       {self.data}
model        {self.run.model / "model.onnx"}
metrics      {self.run.path / "metrics.json"}
predictions  {self.predictions.out} ({self.predictions.count:,} images)
report       {self.report}

the same with your photos, one folder per class:
  {program} train PHOTOS --out runs/first
  {program} evaluate runs/first
  {program} explain runs/first
  {program} predict runs/first NEW_PHOTOS --out predictions.csv"""


def demo(out: Path | None = None) -> Demonstration:
    """Train, evaluate, explain and predict on scikit-learn's handwritten digits.

    Args:
        out: the run folder; None: the next free `runs/N`.
    """
    data = write_digits(cache_folder() / "digits")
    run = train(data, RECIPE, out=out)
    return Demonstration(
        data=data,
        run=run,
        evaluation=evaluate(run.path),
        report=explain(run.path),
        predictions=predict(run.path, [str(data)], out=run.path / "predictions.csv"),
    )
