"""Numbers that modules keep beside their tensors, brought in line with the tensors' shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from prunella.core.types import ChannelGraph, ChannelGroup
from prunella.ops import paths_of
from prunella.surgery.attention import make_slim
from prunella.surgery.numbers import narrow
from prunella.surgery.tokens import (
    SlimBeitAttention,
    SlimCosineWindowAttention,
    SlimEvaAttention,
)
from prunella.surgery.windows import SlimShiftedWindowAttention


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What shapes alone do not tell.

    Attributes:
        path: Dotted name of the module.
        carried: Weights of which whole rows were carried along, as those of grouped convolutions.
    """

    path: str
    carried: frozenset[str]


M = TypeVar("M", bound=nn.Module)
_REFRESH: list[tuple[type[nn.Module] | str, Callable[[Any, _Facts], None]]] = []


def refreshes(
    kind: type[M] | str,
) -> Callable[[Callable[[M, _Facts], None]], Callable[[M, _Facts], None]]:
    """Register how the attributes of one kind of module follow from its tensors.

    A class of a package that is not imported here is given by its dotted name.
    """

    def register(function: Callable[[M, _Facts], None]) -> Callable[[M, _Facts], None]:
        _REFRESH.append((kind, function))
        _refreshing.cache_clear()
        return function

    return register


def refresh_attributes(
    model: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) int64
) -> None:
    """Set `in_channels`, `num_heads` and the like to what the tensors' shapes are now."""
    for group in graph.prunable:
        for path in group.heads:
            count_heads(model.get_submodule(path), group, len(kept[group.name]))
        for width in group.widths:
            narrow(model, width, group.size - len(kept[group.name]))
    carried = frozenset(
        member.tensor
        for group in graph.prunable
        for member in group.members
        if member.role == "carrier" and member.axis == 0
    )
    for path, module in paths_of(model):
        functions = _refreshing(type(module))  # type: ignore[arg-type]
        if functions:
            facts = _Facts(path=path, carried=carried)
            for function in functions:
                function(module, facts)


@cache
def _refreshing(found: type[nn.Module]) -> tuple[Callable[[Any, _Facts], None], ...]:
    """What is registered for a kind of module."""
    return tuple(
        function
        for kind, function in _REFRESH
        if (_dotted(found) == kind if isinstance(kind, str) else issubclass(found, kind))
    )


def _dotted(kind: type[nn.Module]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def count_heads(module: nn.Module, group: ChannelGroup, kept: int) -> None:
    """Bring a module's own counts of heads in line, whatever it calls them.

    Counts are whole multiples of the group's units (several query heads may share a key); widths
    are those of all heads together. Names that speak of the width of one head are left alone.
    """
    widths = {m.indices.numel() for m in group.members if m.role == "consumer"}
    for name, value in vars(module).items():
        if type(value) is not int:
            continue
        counts = "head" in name and "dim" not in name and "size" not in name
        if (counts and value % group.size == 0) or (name in _WIDTHS and value in widths):
            setattr(module, name, value // group.size * kept)


_WIDTHS = frozenset(
    {
        "all_head_size",
        "attention_dim",
        "attn_dim",
        "dim_out",
        "inner_dim",
        "inner_size",
        "out_dim",
        "proj_dim",
        "split_size",
        "val_attn_dim",
    }
)


@refreshes(_ConvNd)
def _convolution(module: _ConvNd, facts: _Facts) -> None:
    first, second = module.weight.shape[:2]
    if module.groups > 1 and f"{facts.path}.weight".lstrip(".") in facts.carried:
        # Whole groups went: what each of them reads and makes is as before.
        whole = module.in_channels if module.transposed else module.out_channels
        module.groups = first * module.groups // whole
    if module.transposed:
        module.in_channels, module.out_channels = first, second * module.groups
    else:
        module.in_channels, module.out_channels = second * module.groups, first


@refreshes(nn.Linear)
def _linear(module: nn.Linear, _: _Facts) -> None:
    module.out_features, module.in_features = module.weight.shape


@refreshes(nn.Embedding)
def _embedding(module: nn.Embedding, _: _Facts) -> None:
    module.num_embeddings, module.embedding_dim = module.weight.shape


@refreshes(_NormBase)
def _batch_norm(module: _NormBase, _: _Facts) -> None:
    for tensor in (module.weight, module.running_mean):
        if tensor is not None:
            module.num_features = len(cast("Any", tensor))
            return


@refreshes(nn.GroupNorm)
def _group_norm(module: nn.GroupNorm, _: _Facts) -> None:
    if module.weight is not None:
        channels = len(module.weight)
        module.num_groups = max(1, module.num_groups * channels // module.num_channels)
        module.num_channels = channels


@refreshes(nn.LayerNorm)
def _layer_norm(module: nn.LayerNorm, _: _Facts) -> None:
    if module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)


@refreshes(nn.RMSNorm)
def _rms_norm(module: nn.RMSNorm, _: _Facts) -> None:
    if module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)


@refreshes(nn.PReLU)
def _prelu(module: nn.PReLU, _: _Facts) -> None:
    module.num_parameters = len(module.weight)


@refreshes(nn.MultiheadAttention)
def _multihead_attention(module: nn.MultiheadAttention, _: _Facts) -> None:
    weight = module.q_proj_weight if module.in_proj_weight is None else module.in_proj_weight
    rows = len(weight) // (1 if module.in_proj_weight is None else 3)
    made = module.out_proj.weight.shape[0]
    if {rows, weight.shape[1], made} == {module.embed_dim}:
        return
    module.embed_dim = weight.shape[1]
    if module.in_proj_weight is None:
        module.kdim, module.vdim = module.k_proj_weight.shape[1], module.v_proj_weight.shape[1]
    else:
        module.kdim = module.vdim = module.embed_dim
    if {rows, made} != {module.embed_dim}:
        # The original's forward takes it for granted that all heads together are as wide as
        # what it reads and what it makes; this one does not.
        make_slim(module)


@refreshes("transformers.pytorch_utils.Conv1D")
def _transposed_linear(module: nn.Module, _: _Facts) -> None:
    """A linear layer that stores its weight as (in, out)."""
    attributes = cast("Any", module)
    attributes.nx, attributes.nf = attributes.weight.shape


@refreshes("torchvision.models.vision_transformer.VisionTransformer")
def _vision_transformer(module: nn.Module, _: _Facts) -> None:
    attributes = cast("Any", module)
    attributes.hidden_dim = len(attributes.conv_proj.weight)


# Their code derives the width of a head, or of all heads together, from the width of what they
# read. `qkv` is their projection, `q_proj` where there is one for each part.
_SLIM_FORMS: dict[str, type[nn.Module]] = {
    "timm.models.beit.Attention": SlimBeitAttention,
    "timm.models.eva.EvaAttention": SlimEvaAttention,
    "timm.models.swin_transformer_v2.WindowAttention": SlimCosineWindowAttention,
    "torchvision.models.swin_transformer.ShiftedWindowAttention": SlimShiftedWindowAttention,
    "torchvision.models.swin_transformer.ShiftedWindowAttentionV2": SlimShiftedWindowAttention,
}


def _slim_form(module: nn.Module, _: _Facts) -> None:
    parts = cast("Any", module)
    fused = parts.qkv is not None
    made, read = (parts.qkv if fused else parts.q_proj).weight.shape
    if made != read * (3 if fused else 1):
        module.__class__ = _SLIM_FORMS[_dotted(type(module))]


for _name in _SLIM_FORMS:
    refreshes(_name)(_slim_form)
