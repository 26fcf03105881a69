"""Networks as files for other programs, each compared with the network it was made from."""

from prunella.export.check import ExportCheck, compare_exported
from prunella.export.latency import compare_onnx_latency, onnx_latency
from prunella.export.packages import require_onnx
from prunella.export.write import export

__all__ = [
    "ExportCheck",
    "compare_exported",
    "compare_onnx_latency",
    "export",
    "onnx_latency",
    "require_onnx",
]
