"""The table of runtimes."""

from __future__ import annotations

from ssn_prune.errors import ArgumentError
from ssn_prune.runtime.backends.interface import Backend
from ssn_prune.runtime.backends.mnn import mnn_version, open_mnn
from ssn_prune.runtime.backends.ncnn import ncnn_version, open_ncnn
from ssn_prune.runtime.backends.onnx_runtime import onnx_runtime_version, open_onnx_runtime
from ssn_prune.runtime.backends.opencv import open_opencv, opencv_version
from ssn_prune.runtime.backends.openvino import open_openvino, openvino_version
from ssn_prune.runtime.backends.tract import open_tract, tract_version

ONNX_RUNTIME = Backend(
    name="onnxruntime",
    title="ONNX Runtime",
    requirements=("onnxruntime",),
    module="onnxruntime",
    open_batch=True,
    open=open_onnx_runtime,
    version=onnx_runtime_version,
)

BACKENDS: tuple[Backend, ...] = (
    ONNX_RUNTIME,
    Backend(
        name="openvino",
        title="OpenVINO",
        requirements=("openvino",),
        module="openvino",
        open_batch=True,
        open=open_openvino,
        version=openvino_version,
    ),
    Backend(
        name="opencv",
        title="OpenCV",
        requirements=("opencv-python-headless",),
        module="cv2",
        open_batch=False,
        open=open_opencv,
        version=opencv_version,
    ),
    Backend(
        name="mnn",
        title="MNN",
        requirements=("MNN",),
        module="MNN",
        open_batch=False,
        open=open_mnn,
        version=mnn_version,
    ),
    Backend(
        name="tract",
        title="tract",
        requirements=("tract",),
        module="tract",
        open_batch=False,
        open=open_tract,
        version=tract_version,
    ),
    Backend(
        name="ncnn",
        title="ncnn",
        requirements=("ncnn", "pnnx"),
        module="ncnn",
        open_batch=False,
        open=open_ncnn,
        version=ncnn_version,
    ),
)


def backend_of(name: str) -> Backend:
    """The runtime with a name.

    Raises:
        ArgumentError: There is none.
    """
    names = [backend.name for backend in BACKENDS]
    if name not in names:
        raise ArgumentError(
            f"no runtime is called {name!r}",
            expected=" or ".join(names),
            found=f"`runtimes={name}`",
            hint="pass one of these names",
        )
    return BACKENDS[names.index(name)]
