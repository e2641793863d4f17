"""TensorFlow and Keras, loaded once, quietly, and with the right backend; whoever needs them imports them from here.

TensorFlow writes a dozen lines to the process's standard error while it loads, whatever its log level says; here
they go to a temporary file, which is shown only when loading fails.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

from convscope.environment import available_cores
from convscope.errors import ConvscopeError, MissingExtra
from convscope.networks.garbage_collection import without_collecting

REWRITINGS = (  # of graphs, by TensorFlow before their first run, that do not pay
    "arithmetic_optimization",
    "constant_folding",
    "dependency_optimization",
    "function_optimization",
    "layout_optimizer",
    "loop_optimization",
    "shape_optimization",
)
PASSENGERS = ("matplotlib", "sklearn")  # what Keras loads where it is installed, for pictures and wrappers of its own


@contextmanager
def _without_passengers() -> Iterator[None]:
    """Keep Keras from loading what nothing here asks it for: 1.3 of 4.4 seconds. Whoever needs it imports it later."""
    hidden = [name for name in PASSENGERS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: to import it is an ImportError
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep what C++ code writes to file descriptor 2 out of the person's sight, unless it ends in an error."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # no standard error to keep clean
        yield
        return
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except ImportError:
            raise
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _set_threads(tensorflow: Any) -> None:
    """Two operations at a time, each on half of the cores, as the training step is made for.

    A TensorFlow that has begun to work already keeps its threads.
    """
    with suppress(RuntimeError):
        tensorflow.config.threading.set_inter_op_parallelism_threads(2)
        tensorflow.config.threading.set_intra_op_parallelism_threads(max(1, available_cores() // 2))


def _set_rewriting(tensorflow: Any) -> None:
    """Leave each graph as it was traced, but for fusing what may be fused.

    With the other rewritings a training step takes as long or longer, and the first one waits for them
    (docs/decisions/compact.md). Like the threads, this holds for the whole process.
    """
    tensorflow.config.optimizer.set_experimental_options(dict.fromkeys(REWRITINGS, False))


def _load() -> tuple[Any, Any]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # TensorFlow turns oneDNN on by itself only where a processor has AVX-512 VNNI or better; with AVX2 alone it gives
    # 1.3 to 1.9 times the images per second (docs/decisions/compact.md)
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        with _quiet_stderr(), _without_passengers(), without_collecting():  # to collect takes 0.9 of 3.4 seconds
            import tensorflow

            _set_threads(tensorflow)
            _set_rewriting(tensorflow)
            tensorflow.constant(0)  # opens the device, which says its piece now
            import keras
    except ModuleNotFoundError as error:
        raise MissingExtra(command="learning or explaining", module=str(error.name), extra="train") from None
    if (backend := keras.backend.backend()) != "tensorflow":
        raise ConvscopeError(
            found=f"Keras, loaded on {backend} before convscope was",
            expected="Keras on TensorFlow",
            fix="set KERAS_BACKEND=tensorflow before Python starts",
        )
    keras.config.set_floatx("float32")  # the networks are written for these two, whatever ~/.keras/keras.json says
    keras.config.set_image_data_format("channels_last")
    return tensorflow, keras


tf, keras = _load()


@contextmanager
def as_traced() -> Iterator[None]:
    """Leave the graphs that are run within it, by this thread, as they were traced, not even fused.

    What TensorFlow has for it in public holds for the whole process, and so for other threads; this is how its own
    `tf.experimental.function_executor_type` sets something for one.
    """
    from tensorflow.python.eager import context

    eager = context.context()
    before = eager.function_call_options
    eager.function_call_options = _call_options(before.config_proto_serialized, before.executor_type)
    try:
        yield
    finally:
        eager.function_call_options = before


@lru_cache(maxsize=8)
def _call_options(config: bytes, executor: str | None) -> Any:
    """The same settings, but that nothing is rewritten. Made once: it takes longer than all else of `as_traced`."""
    from tensorflow.python.eager import context

    settings = tf.compat.v1.ConfigProto.FromString(config)
    settings.graph_options.rewrite_options.disable_meta_optimizer = True
    return context.FunctionCallOptions(executor_type=executor, config_proto=settings)
