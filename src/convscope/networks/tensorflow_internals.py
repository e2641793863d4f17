"""The private parts of TensorFlow that convscope uses, all of them. Each has a test, to run with every new version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from convscope.networks.frameworks import tf


@contextmanager
def without_graph_rewriting() -> Iterator[None]:
    """Run the graphs of this thread within the block as they were traced, without even fusing.

    The public `tf.config.optimizer` holds for the process, and so for other threads. This sets an option of one thread,
    as `tf.experimental.function_executor_type` does inside of TensorFlow.
    """
    from tensorflow.python.eager import context

    eager_context = context.context()
    before = eager_context.function_call_options
    eager_context.function_call_options = _call_options(before.config_proto_serialized, before.executor_type)
    try:
        yield
    finally:
        eager_context.function_call_options = before


@lru_cache(maxsize=8)  # to make the options takes longer than all else of `without_graph_rewriting`
def _call_options(config: bytes, executor: str | None) -> Any:
    """The same settings, without rewriting."""
    from tensorflow.python.eager import context

    settings = tf.compat.v1.ConfigProto.FromString(config)
    settings.graph_options.rewrite_options.disable_meta_optimizer = True
    return context.FunctionCallOptions(executor_type=executor, config_proto=settings)
