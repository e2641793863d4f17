"""TensorFlow as `tf` and Keras on it as `keras`, loaded quietly; the other modules import them from here.

Loading them changes nothing else in the process: no thread, dtype, data format, seed or environment variable.
`framework_setup.configure_tensorflow` makes the settings that training is fast with.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from convscope.errors import ConvscopeError, MissingExtra
from convscope.networks.framework_setup import environment_variables, quiet_stderr, without_garbage_collection
from convscope.recipe.validation import Precision


def _load() -> tuple[Any, Any]:
    state = random.getstate()  # Keras draws a number while it loads
    backend = {} if "keras" in sys.modules else {"KERAS_BACKEND": "tensorflow"}
    try:
        with environment_variables(TF_CPP_MIN_LOG_LEVEL="2", **backend), quiet_stderr(), without_garbage_collection():
            import keras
            import tensorflow
    except ModuleNotFoundError as error:
        module = str(error.name).partition(".")[0]
        raise MissingExtra(command="training or exporting", module=module, extra="train") from None
    finally:
        random.setstate(state)
    if (loaded := keras.backend.backend()) != "tensorflow":
        raise ConvscopeError(
            found=f"Keras on the backend {loaded}, imported before convscope",
            expected="Keras on TensorFlow",
            fix="set KERAS_BACKEND=tensorflow before Python starts, or import convscope first",
        )
    return tensorflow, keras


tf, keras = _load()


@contextmanager
def keras_defaults(precision: Precision = "float32") -> Iterator[None]:
    """Build networks within the block as they are written, whatever `~/.keras/keras.json` says: float32, channels last.

    Args:
        precision: of the activations; with `bfloat16` weights stay float32. Afterwards all is set as it was before.
    """
    config = keras.config
    before = config.floatx(), config.image_data_format(), config.epsilon(), config.dtype_policy()
    _set_defaults("float32", "channels_last", 1e-7, "float32" if precision == "float32" else "mixed_bfloat16")
    try:
        yield
    finally:
        _set_defaults(*before)


def _set_defaults(floatx: str, data_format: str, epsilon: float, policy: Any) -> None:
    keras.config.set_floatx(floatx)
    keras.config.set_image_data_format(data_format)
    keras.config.set_epsilon(epsilon)
    keras.config.set_dtype_policy(policy)
