"""The verb `serve`: a model behind HTTP, in one process, on ONNX Runtime. Needs the extra [serve], no TensorFlow."""

from importlib.util import find_spec

from convscope.errors import MissingExtra

for _module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
    if find_spec(_module) is None:
        raise MissingExtra(command="convscope serve", module=_module, extra="serve")
