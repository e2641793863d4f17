"""The reference's computation with oneDNN on, which TensorFlow leaves off on processors with AVX2 alone."""

from __future__ import annotations

import os

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # before TensorFlow is loaded

from competitors.protocol import run_task
from competitors.tf1_graph import burst

if __name__ == "__main__":
    run_task({"burst": burst})
