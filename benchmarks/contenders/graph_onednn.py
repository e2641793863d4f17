"""The reference's computation with oneDNN turned on, which TensorFlow leaves off on processors with AVX2 alone."""

from __future__ import annotations

import os

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # before TensorFlow is loaded

from contenders.child import answer
from contenders.graph import burst

if __name__ == "__main__":
    answer({"burst": burst})
