"""networks/framework_setup.py: one explicit call sets up TensorFlow, and says what it came too late for."""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from pathlib import Path

import pytest
from processes import run_python

from convscope.environment import available_cores
from convscope.networks.framework_setup import environment_variables, without_garbage_collection

CONFIGURE = "from convscope.networks.framework_setup import configure_tensorflow as configure; configure()\n"


@pytest.mark.slow
@pytest.mark.parametrize(("variable", "expected"), [(None, "1"), ("0", "0")])
def test_onednn_is_on_unless_the_user_turned_it_off(tmp_path: Path, variable: str | None, expected: str) -> None:
    """The variable is set before TensorFlow loads, and is as it was afterwards."""
    (tmp_path / "tensorflow.py").write_text(
        "import os\nprint(os.environ['TF_ENABLE_ONEDNN_OPTS'])\nraise RuntimeError\n"
    )
    set_variable = "" if variable is None else f"os.environ['TF_ENABLE_ONEDNN_OPTS'] = {variable!r}\n"
    code = (
        f"import os; os.environ.pop('TF_ENABLE_ONEDNN_OPTS', None)\n{set_variable}"
        f"try:\n    {CONFIGURE}\nexcept RuntimeError:\n    print(os.environ.get('TF_ENABLE_ONEDNN_OPTS'))"
    )
    assert run_python(code, path=[tmp_path]).out.split() == [expected, str(variable)]


@pytest.mark.tensorflow
@pytest.mark.slow
def test_tensorflow_is_configured_quietly() -> None:
    """Threads and rewritings are as documented, and fusing stays on; a second call does nothing; nothing is printed."""
    code = f"""
{CONFIGURE}configure()
import sys
from convscope.networks.framework_setup import REWRITINGS
print("sklearn" in sys.modules, "matplotlib" in sys.modules)
import tensorflow as tf
threading, options = tf.config.threading, tf.config.optimizer.get_experimental_options()
print(threading.get_inter_op_parallelism_threads(), threading.get_intra_op_parallelism_threads())
print({{options[name] for name in REWRITINGS}}, options.get("remapping", True), options["disable_meta_optimizer"])
import matplotlib, sklearn
print(sklearn.__version__ > "1", matplotlib.__version__ > "3")
"""
    result = run_python(code)
    threads = f"2 {max(1, available_cores() // 2)}"
    assert result.out.splitlines() == ["False False", threads, "{False} True False", "True True"]
    assert result.err == ""


@pytest.mark.tensorflow
@pytest.mark.slow
def test_what_comes_too_late_is_logged() -> None:
    """A TensorFlow that is loaded keeps oneDNN, and one that has begun to work its threads: a warning names both."""
    load = "import logging; logging.basicConfig(format='%(name)s: %(message)s')\nimport tensorflow as tf\n"
    begin = "tf.constant(0)\n"
    end = "print(tf.config.threading.get_inter_op_parallelism_threads())"
    module = "convscope.networks.framework_setup: TensorFlow was loaded before `configure_tensorflow` was called:"
    early = run_python(load + CONFIGURE + end, TF_CPP_MIN_LOG_LEVEL="2")
    assert early.err.splitlines()[-1] == f"{module} oneDNN stayed as it was."
    assert early.out == "2\n"
    late = run_python(load + begin + CONFIGURE + CONFIGURE + end, TF_CPP_MIN_LOG_LEVEL="2")
    assert late.err.splitlines()[-1] == f"{module} oneDNN and the number of threads stayed as it was."
    assert late.err.count(module) == 1
    assert late.out == "0\n"


@pytest.mark.parametrize("is_enabled", [True, False])
def test_garbage_collection_is_as_it_was_before(is_enabled: bool) -> None:
    """It is paused within the block, and only there, also where the block ends in an error."""
    before = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        with suppress(RuntimeError), without_garbage_collection():
            assert not gc.isenabled()
            raise RuntimeError
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_environment_variables_are_as_they_were_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was set gets its value back, one that was not is removed, also after an error."""
    monkeypatch.setenv("CONVSCOPE_TEST_SET", "old")
    monkeypatch.delenv("CONVSCOPE_TEST_NEW", raising=False)
    before = dict(os.environ)
    with suppress(RuntimeError), environment_variables(CONVSCOPE_TEST_SET="new", CONVSCOPE_TEST_NEW="new"):
        assert (os.environ["CONVSCOPE_TEST_SET"], os.environ["CONVSCOPE_TEST_NEW"]) == ("new", "new")
        raise RuntimeError
    assert dict(os.environ) == before
