"""Settings of TensorFlow for a process that trains: oneDNN, threads, rewriting of graphs.

Importing convscope sets none of them: `configure_tensorflow` does, which the command line calls first. Importing this
module does not load TensorFlow.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from convscope.environment import available_cores

logger = logging.getLogger(__name__)

REWRITINGS = (  # of graphs, by TensorFlow before their first run, that do not pay
    "arithmetic_optimization",
    "constant_folding",
    "dependency_optimization",
    "function_optimization",
    "layout_optimizer",
    "loop_optimization",
    "shape_optimization",
)
OPTIONAL_IMPORTS = ("matplotlib", "sklearn")  # Keras loads them, where they are installed, for plots and wrappers

_is_configured = False


def configure_tensorflow() -> None:
    """Load TensorFlow and set it up for training on this machine, for the rest of the process.

    - oneDNN is on, unless `TF_ENABLE_ONEDNN_OPTS` says otherwise. TensorFlow itself turns it on only on processors with
      AVX-512 VNNI or better; with AVX2 alone it gives 1.3 to 1.9 times the images per second.
    - Two operations run at a time, each on half of the cores, as the training step is made for.
    - Graphs run as they were traced, but for fusing: with the other rewritings a training step takes as long or longer,
      and the first one waits for them.
    - Keras is loaded without Matplotlib and scikit-learn, which saves 1.3 of 4.4 seconds: `keras.wrappers` and plots of
      models do not work afterwards.

    Call it before anything imports TensorFlow: a warning is logged about settings that it came too late for. A second
    call does nothing. It makes training faster (measured in docs/decisions/compact.md); results differ by rounding.

    Raises:
        MissingExtra: TensorFlow or Keras is not installed.
    """
    global _is_configured
    if _is_configured:
        return
    late = ["oneDNN"] if "tensorflow" in sys.modules else []
    onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "1")
    with environment_variables(TF_ENABLE_ONEDNN_OPTS=onednn), _without_optional_imports():
        from convscope.networks.frameworks import tf
    try:
        tf.config.threading.set_inter_op_parallelism_threads(2)
        tf.config.threading.set_intra_op_parallelism_threads(max(1, available_cores() // 2))
    except RuntimeError:  # TensorFlow has begun to work and keeps its threads
        late.append("the number of threads")
    tf.config.optimizer.set_experimental_options(dict.fromkeys(REWRITINGS, False))
    with quiet_stderr():
        tf.constant(0)  # opens the devices, whose messages come now
    _is_configured = True
    if late:
        logger.warning(
            f"TensorFlow was loaded before `configure_tensorflow` was called: {' and '.join(late)} stayed as it was."
        )


@contextmanager
def environment_variables(**values: str) -> Iterator[None]:
    """Set environment variables within the block; afterwards each is as it was before."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pause Python's cyclic garbage collection within the block, also where it ends in an error.

    Loading TensorFlow makes half a million objects that all stay; to search them for cycles takes 0.9 of 3.4 seconds.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hide what C++ code writes to file descriptor 2 within the block, unless the block ends in an error.

    TensorFlow writes a dozen lines there while it loads, whatever its log level.
    """
    sys.stderr.flush()
    try:
        original = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except ImportError:
            raise
        except BaseException:
            hidden.seek(0)
            os.write(original, hidden.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


@contextmanager
def _without_optional_imports() -> Iterator[None]:
    """Let `import matplotlib` and `import sklearn` fail within the block; afterwards both can be imported."""
    hidden = [name for name in OPTIONAL_IMPORTS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: to import it is an ImportError
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
