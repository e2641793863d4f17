"""networks/frameworks.py: TensorFlow is loaded quietly and as the networks need it, or it is said how to get it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a Python of their own."""
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


STAND_IN = """
class config:
    class threading:
        set_inter_op_parallelism_threads = set_intra_op_parallelism_threads = id
    class optimizer:
        set_experimental_options = id
def constant(value): return value
"""


@pytest.mark.parametrize(("said", "kept"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")], ids=["unsaid", "said"])
def test_onednn_is_used_unless_a_person_says_no(tmp_path: Path, said: dict[str, str], kept: str) -> None:
    """Also where TensorFlow by itself would not, and it is decided before TensorFlow loads."""
    (tmp_path / "tensorflow.py").write_text("import os\nraise ValueError(os.environ.get('TF_ENABLE_ONEDNN_OPTS'))\n")
    clean = "import os; os.environ.pop('TF_ENABLE_ONEDNN_OPTS', None); " if not said else ""
    done = run_python(
        f"{clean}import sys; sys.path.insert(0, {str(tmp_path)!r}); import convscope.networks.frameworks", **said
    )
    assert done.stderr.splitlines()[-1] == f"ValueError: {kept}"


@pytest.mark.parametrize("module", ["tensorflow", "keras"])
def test_missing_module_names_the_extra(module: str, tmp_path: Path) -> None:
    """Without TensorFlow or Keras the error says what is missing and the command that installs it."""
    if module == "keras":  # so that the five seconds of a real one are not spent
        (tmp_path / "tensorflow.py").write_text(STAND_IN)
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
sys.modules[{module!r}] = None
from convscope.errors import MissingExtra
try:
    import convscope.networks.frameworks
except MissingExtra as error:
    print(error.found, error.expected, error.fix, sep="\\n")
"""
    done = run_python(code)
    assert done.stdout.splitlines() == [
        f"learning or explaining needs the Python module '{module}', which is not installed",
        "convscope with its extra [train]",
        "pip install 'convscope[train]'",
    ]
    assert done.stderr == ""


def test_failure_while_loading_is_shown(tmp_path: Path) -> None:
    """What a broken TensorFlow wrote to standard error before it failed is not swallowed."""
    broken = "import os\nos.write(2, b'libfoo.so: not found')\nraise RuntimeError('broken')\n"
    (tmp_path / "tensorflow.py").write_text(broken)
    done = run_python(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import convscope.networks.frameworks")
    assert done.returncode == 1
    assert "libfoo.so: not found" in done.stderr
    assert "RuntimeError: broken" in done.stderr


@pytest.mark.parametrize("was_on", [True, False])
def test_garbage_collector_is_left_as_it_was(was_on: bool, tmp_path: Path) -> None:
    """It is off while TensorFlow loads; then it is as before, also where loading failed."""
    (tmp_path / "tensorflow.py").write_text("import gc\nprint(gc.isenabled())\nraise RuntimeError\n")
    code = f"""
import gc, sys
sys.path.insert(0, {str(tmp_path)!r})
(gc.enable if {was_on} else gc.disable)()
try:
    import convscope.networks.frameworks
except RuntimeError:
    print(gc.isenabled())
"""
    assert run_python(code).stdout.split() == ["False", str(was_on)]


@pytest.mark.tensorflow
@pytest.mark.slow
def test_what_keras_loads_for_itself_waits_until_somebody_asks_for_it() -> None:
    """Neither scikit-learn nor matplotlib is there, as they are installed; both can be imported after, and before."""
    code = """
import sys
import convscope.networks.frameworks
print("sklearn" in sys.modules, "matplotlib" in sys.modules)
import matplotlib, sklearn
print(sklearn.__version__ > "1", matplotlib.__version__ > "3")
"""
    assert run_python(code).stdout.split() == ["False", "False", "True", "True"]
    done = run_python("import matplotlib, sklearn\nimport convscope.networks.frameworks\nprint(matplotlib.__name__)")
    assert (done.stdout, done.stderr) == ("matplotlib\n", "")


@pytest.mark.tensorflow
@pytest.mark.slow
def test_graphs_are_left_as_traced_but_for_fusing() -> None:
    """TensorFlow's rewritings that do not pay are off; the one that fuses, which answers need, is not."""
    code = """
from convscope.networks.frameworks import REWRITINGS, tf
settings = tf.config.optimizer.get_experimental_options()
print({settings[name] for name in REWRITINGS}, settings.get("remapping", True), settings["disable_meta_optimizer"])
"""
    assert run_python(code).stdout == "{False} True False\n"


@pytest.mark.tensorflow
@pytest.mark.slow
def test_what_one_thread_leaves_as_traced_is_rewritten_in_another() -> None:
    """Within `as_traced` nothing is rewritten; other threads, and all after it, are as before, also after an error."""
    code = """
import threading
from tensorflow.python.eager import context
from convscope.networks.frameworks import as_traced, tf

def is_as_traced():
    settings = tf.compat.v1.ConfigProto.FromString(context.context().function_call_options.config_proto_serialized)
    return settings.graph_options.rewrite_options.disable_meta_optimizer

def look():
    print("other thread", is_as_traced())

print("before", is_as_traced())
try:
    with as_traced():
        print("within", is_as_traced())
        other = threading.Thread(target=look)
        other.start()
        other.join()
        raise RuntimeError
except RuntimeError:
    print("after", is_as_traced())
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
with as_traced():
    pass
print("as it was set", is_as_traced())
"""
    told = run_python(code).stdout.splitlines()
    assert told == ["before False", "within True", "other thread False", "after False", "as it was set True"]


@pytest.mark.tensorflow
@pytest.mark.slow
def test_loading_is_quiet_and_heeds_no_settings(tmp_path: Path) -> None:
    """Nothing is written on import, and a person's own Keras settings do not bend the networks."""
    settings = {"backend": "jax", "floatx": "float16", "image_data_format": "channels_first", "epsilon": 1e-7}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    code = """
from convscope.networks.frameworks import keras, tf
from convscope.networks.classic import classic
model = classic((8, 8, 3), 2, filters=(4,), dense_units=5, seed=0)
block = model.get_layer("block1").output
print(keras.backend.backend(), tf.executing_eagerly(), tuple(block.shape), block.dtype)
"""
    done = run_python(code, KERAS_HOME=str(tmp_path))
    assert (done.stdout, done.stderr) == ("tensorflow True (None, 4, 4, 4) float32\n", "")
