"""networks/tensorflow_internals.py: what convscope needs of TensorFlow's private parts is there."""

from __future__ import annotations

import pytest
from processes import run_python

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


def test_graphs_of_one_thread_run_as_traced() -> None:
    """Breaks when `tensorflow.python.eager.context` loses `function_call_options`: training steps get slower to start.

    Within the block nothing is rewritten; other threads, and all after it, are as before, also after an error.
    """
    code = """
import threading
from tensorflow.python.eager import context
from convscope.networks.frameworks import tf
from convscope.networks.tensorflow_internals import without_graph_rewriting

def is_off():
    settings = tf.compat.v1.ConfigProto.FromString(context.context().function_call_options.config_proto_serialized)
    return settings.graph_options.rewrite_options.disable_meta_optimizer

print("before", is_off())
try:
    with without_graph_rewriting():
        print("within", is_off())
        other = threading.Thread(target=lambda: print("other thread", is_off()))
        other.start()
        other.join()
        raise RuntimeError
except RuntimeError:
    print("after", is_off())
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
with without_graph_rewriting():
    pass
print("as it was set", is_off())
"""
    lines = run_python(code).out.splitlines()
    assert lines == ["before False", "within True", "other thread False", "after False", "as it was set True"]
