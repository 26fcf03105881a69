"""Networks of torchvision and timm for the benchmarks, and a description of the machine."""

from __future__ import annotations

import contextlib
import csv
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

import prunella

_HERE = Path(__file__).parent
BUNDLED = Path(prunella.networks.__file__).parent / "weights" / "resnet20.safetensors"


def _declare_missing_torchvision_operators() -> list[torch.library.Library]:
    """Let torchvision be imported beside a CPU build of torch that lacks its compiled operators.

    Where they are there, as with torch's builds for CUDA, they would be declared twice.
    """
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return []
    with contextlib.suppress(OSError):  # cannot be loaded beside this torch
        torch.ops.load_library(Path(spec.origin).with_name("_C.so"))
        return []
    libraries = []
    for schema in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        with contextlib.suppress(RuntimeError):
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(schema)
            libraries.append(library)
    return libraries


_LIBRARIES = _declare_missing_torchvision_operators()

import timm  # noqa: E402  (needs the operators above)
import torchvision  # noqa: E402
from torchvision.extension import _has_ops  # noqa: E402
from torchvision.ops import boxes as _boxes  # noqa: E402


def _non_maximum_suppression(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Positions of the boxes that no better one overlaps, the best first."""
    order = torch.argsort(scores, descending=True, stable=True)
    overlaps = _boxes.box_iou(boxes, boxes)[order][:, order] > iou_threshold
    stays = torch.ones(len(order), dtype=torch.bool)
    for place in range(len(order)):
        if stays[place]:
            stays[place + 1 :] &= ~overlaps[place, place + 1 :]
    return order[stays]


if not _has_ops():
    _boxes.nms = _non_maximum_suppression

QUICK = {
    "torchvision": ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "densenet121"),
    "timm": ("convnext_atto", "ghostnet_050", "resnet10t"),
    "detection": ("lraspp_mobilenet_v3_large",),
}


def names(family: str) -> tuple[str, ...]:
    """All networks of a family: torchvision's classifiers, one of each timm family, detectors."""
    if family == "torchvision":
        return tuple(torchvision.models.list_models(module=torchvision.models))
    if family == "timm":
        with (_HERE / "timm-families.csv").open(encoding="utf-8", newline="") as file:
            return tuple(row["model"] for row in csv.DictReader(file))
    parts = torchvision.models.segmentation, torchvision.models.detection
    return tuple(name for part in parts for name in torchvision.models.list_models(module=part))


def build(family: str, name: str) -> tuple[nn.Module, Tensor]:
    """A network with random weights, as after training where zeros would hide a mistake.

    Returns:
        The network in evaluation mode, and one example of the size it was made for.
    """
    torch.manual_seed(0)
    if family == "timm":
        model = timm.create_model(name, pretrained=False)
        size = tuple(model.pretrained_cfg.get("input_size") or (3, 224, 224))
    else:
        model = torchvision.models.get_model(name, **_arguments(family, name))
        side = 299 if name == "inception_v3" else 224
        size = (3, side, side)
    _as_after_training(model)
    return model.eval(), torch.randn(1, *size)


def _arguments(family: str, name: str) -> dict[str, object]:
    if family == "torchvision":
        return {"weights": None}
    plain: dict[str, object] = {"weights": None, "weights_backbone": None}
    if any(part in name for part in ("rcnn", "retinanet", "fcos")):
        plain |= {"min_size": 224, "max_size": 224}  # as small as the example; 800 by default
    if "rcnn" in name:
        plain["box_score_thresh"] = 0.0  # else random weights find nothing that could be compared
    return plain


def _as_after_training(model: nn.Module) -> None:
    """Random numbers where a fresh network has all equal ones: shifts, scales, statistics, heads.

    A layer that starts at zero, or with a scale of 1e-6, would hide every mistake before it.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.dtype.is_floating_point or tensor.numel() < 2 or tensor.is_meta:
                continue
            first = tensor.flatten()[0]
            if not bool((tensor == first).all()):
                continue
            if first != 0 or name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif isinstance(tensor, nn.Parameter) or name.endswith("running_mean"):
                tensor.normal_(std=0.3 if tensor.ndim == 1 else 0.02, generator=generator)


def machine() -> dict[str, object]:
    """Processor, threads and versions, for the side of a table."""
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: installed(name) for name in ("prunella", "torch", "torchvision", "timm")},
    }


def write_machine(table: Path, **more: object) -> None:
    """Put the description of the machine beside a table, as JSON."""
    text = json.dumps({**machine(), **more}, indent=2)
    table.with_suffix(".json").write_text(f"{text}\n", encoding="utf-8")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def installed(name: str) -> str:
    """Version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
