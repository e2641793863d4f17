"""networks/frameworks.py: TensorFlow and Keras are loaded quietly, and nothing else in the process changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from processes import run_python

FAKE_TENSORFLOW = "# enough to be imported\n"
IMPORT_ALL = """
import importlib, pkgutil
import convscope
for module in pkgutil.walk_packages(convscope.__path__, "convscope."):
    if module.name.split(".")[1] not in ("__main__", "cli"):  # not the library; Rich draws a random number
        importlib.import_module(module.name)
"""
PRINT_STATE = """
import tensorflow as tf
print(json.dumps({
    "environment": dict(os.environ),
    "threads": [tf.config.threading.get_inter_op_parallelism_threads(),
                tf.config.threading.get_intra_op_parallelism_threads()],
    "rewriting": tf.config.optimizer.get_experimental_options(),
    "keras": [keras.config.floatx(), keras.config.image_data_format(), keras.config.epsilon(),
              keras.config.dtype_policy().name],
    "random": random.getstate()[1][:4],
    "garbage collection": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()],
    "blocked modules": [name for name, module in sys.modules.items() if module is None],
    "wrappers": keras.wrappers.SKLearnClassifier is not None and sklearn.base is keras.src.wrappers.utils.sklearn.base,
}))
"""


@pytest.mark.tensorflow
@pytest.mark.slow
def test_importing_everything_changes_no_global_state() -> None:
    """After all modules of convscope are imported, the process is as after `import tensorflow, keras` alone."""
    start = "import gc, json, os, random, sys, sklearn.base, matplotlib\n"
    libraries = "import tensorflow, keras\n"
    environment = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "1"}

    def state(code: str) -> dict[str, Any]:
        result = run_python(start + code, **environment)
        assert result.code == 0, result.err
        values: dict[str, Any] = json.loads(result.out)
        values["environment"].pop("PYTHONPATH")
        return values

    expected = state(f"{libraries}random.seed(5)\n{PRINT_STATE}")
    assert state(f"random.seed(5)\n{IMPORT_ALL}import keras\n{PRINT_STATE}") == expected
    assert expected["threads"] == [0, 0]
    assert expected["blocked modules"] == []


@pytest.mark.tensorflow
@pytest.mark.slow
def test_loading_is_quiet_and_networks_do_not_depend_on_settings(tmp_path: Path) -> None:
    """Nothing is printed; networks are float32 and channels last, whatever `keras.json` says, and leave it valid."""
    settings = {"backend": "jax", "floatx": "float16", "image_data_format": "channels_first", "epsilon": 1e-3}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    code = """
import os
os.environ.pop("KERAS_BACKEND", None)
from convscope.networks.catalog import build_network, submodel
from convscope.networks.frameworks import keras, tf
from convscope.recipe.recipe import Recipe
from convscope.recipe.resolved import resolve
import numpy as np
config = keras.config
before = config.floatx(), config.image_data_format(), config.epsilon(), config.dtype_policy().name
for network in ("classic", "compact", "keras:MobileNetV2", "keras:EfficientNetB0"):
    weights = {"weights": "none"} if ":" in network else {}
    model = build_network(resolve(Recipe(network=network, image_size=32, **weights)), 2)
    outputs = submodel(model, "block1", "features", "probabilities")(np.zeros((1, 32, 32, 3), np.uint8))
    print(network, {tensor.dtype.name for tensor in outputs.values()}, outputs["block1"].shape[1])
after = config.floatx(), config.image_data_format(), config.epsilon(), config.dtype_policy().name
print(keras.backend.backend(), before == after == ("float16", "channels_first", 1e-3, "float16"))
print(os.environ.get("KERAS_BACKEND"))
"""
    result = run_python(code, KERAS_HOME=str(tmp_path))
    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        "classic {'float32'} 16",
        "compact {'float32'} 8",
        "keras:MobileNetV2 {'float32'} 16",
        "keras:EfficientNetB0 {'float32'} 16",
        "tensorflow True",
        "None",
    ]
    assert result.err == ""


@pytest.mark.slow
@pytest.mark.parametrize("module", ["tensorflow", "keras"])
def test_missing_module_names_the_extra(module: str, tmp_path: Path) -> None:
    """Without TensorFlow or Keras the error names the module and the command that installs it."""
    if module == "keras":  # a real TensorFlow takes seconds
        (tmp_path / "tensorflow.py").write_text(FAKE_TENSORFLOW)
    code = f"""
import sys
sys.modules[{module!r}] = None
from convscope.errors import MissingExtra
try:
    import convscope.networks.frameworks
except MissingExtra as error:
    print(error.found, error.expected, error.fix, sep="\\n")
"""
    result = run_python(code, path=[tmp_path])
    assert result.out.splitlines() == [
        f"training or exporting needs the Python module '{module}', which is not installed",
        "convscope with its extra [train]",
        "pip install 'convscope[train]'",
    ]
    assert result.err == ""


@pytest.mark.slow
def test_failure_of_loading_is_shown(tmp_path: Path) -> None:
    """What a broken TensorFlow wrote to standard error before it failed is not hidden."""
    broken = "import os\nos.write(2, b'libfoo.so: not found')\nraise RuntimeError('broken')\n"
    (tmp_path / "tensorflow.py").write_text(broken)
    result = run_python("import convscope.networks.frameworks", path=[tmp_path])
    assert result.code == 1
    assert "libfoo.so: not found" in result.err
    assert "RuntimeError: broken" in result.err


@pytest.mark.slow
def test_another_backend_is_refused(tmp_path: Path) -> None:
    """A Keras that was loaded on another backend before cannot be used, and the error says what to set."""
    (tmp_path / "tensorflow.py").write_text(FAKE_TENSORFLOW)
    (tmp_path / "keras.py").write_text("class backend:\n    backend = staticmethod(lambda: 'jax')\n")
    result = run_python("import keras, convscope.networks.frameworks", path=[tmp_path])
    assert "Keras on the backend jax" in result.err
    assert "KERAS_BACKEND=tensorflow" in result.err
