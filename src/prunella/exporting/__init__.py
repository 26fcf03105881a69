"""Networks as files for other programs, each compared with the network it was made from."""

from prunella.exporting.check import ExportCheck, compare_exported
from prunella.exporting.latency import compare_onnx_latency, onnx_latency
from prunella.exporting.packages import require_onnx
from prunella.exporting.write import export

__all__ = [
    "ExportCheck",
    "compare_exported",
    "compare_onnx_latency",
    "export",
    "onnx_latency",
    "require_onnx",
]
