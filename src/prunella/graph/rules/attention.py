"""Products of two activations, attention above all.

The positions that are summed over must be removed together in both operands, and the result exists
where both its row and its column do. For attention that makes a head one unit: all positions of its
queries, keys and values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from prunella.graph.call import Call, rule
from prunella.graph.labels import Labels
from prunella.graph.notes import Heads, Product
from prunella.graph.rules.contract import freeze_all
from prunella.graph.rules.elementwise import fill, meet

_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_attention_math", "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math_for_mps", "scaled_dot_product_attention",
)  # fmt: skip


@rule("bmm", "baddbmm")
def batched_product(call: Call, labels: Labels) -> None:
    """(batch, n, k) x (batch, k, m), with an addend of (batch, n, m) for baddbmm."""
    left, right = call.args[-2:]
    if labels.layers(left) or labels.layers(right):
        freeze_all(call, labels, "a batched product with a stored tensor")
        return
    known = multiply(call, labels, left, right)
    if known is None:
        return
    if call.operation == "baddbmm":
        _add(call.args[0], known, call, labels)
    labels.put(call.out, known)


@rule(*_ATTENTION)
def attention(call: Call, labels: Labels) -> None:
    """softmax(q k^T + mask) v in one call; q (..., heads, n, d), k and v (..., heads, m, d)."""
    query, key, value = call.args[:3]
    if any(labels.layers(part) for part in (query, key, value)):
        freeze_all(call, labels, "attention with a stored tensor")
        return
    heads = query.shape[-3]
    known = [labels.get(part) for part in (query, key, value)]
    of_q, of_k, of_v = (
        None if found is None else found.repeat_interleave(heads // found.shape[-3], -3)
        if found.ndim > 2 and found.shape[-3] != heads else found
        for found in known
    )  # fmt: skip
    scores = _product(call, labels, of_q, None if of_k is None else of_k.mT)
    mask = call.kwargs.get("attn_mask")
    if scores is not None:
        if isinstance(mask, Tensor):
            _add(mask, scores, call, labels)
        if labels.constant_along(scores, [scores.ndim - 1]) is None:
            labels.freeze(scores, f"softmax over channels at {call.where()}")
    out = _product(call, labels, scores, of_v)
    if out is not None:
        shaped = call.outputs[0]
        labels.put(shaped, out.expand(shaped.shape))
        _note_product(out, value.shape[-1], call, labels)


def multiply(call: Call, labels: Labels, left: Tensor, right: Tensor) -> Tensor | None:
    """Labels of left @ right, or None if it has none."""
    known = _product(call, labels, labels.get(left), labels.get(right))
    if known is not None:
        _note_product(known, left.shape[-1], call, labels)
        known = known.expand(call.outputs[0].shape)
    return known


def _product(
    call: Call,
    labels: Labels,
    left: Tensor | None,  # (..., n, k)
    right: Tensor | None,  # (..., k, m)
) -> Tensor | None:
    if left is None and right is None:
        return None
    where = f"a product of two activations ({call.operation}) at {call.where()}"
    rows, columns = _contracted(left, -1, labels, where), _contracted(right, -2, labels, where)
    if rows is not None and columns is not None:
        labels.tie(rows, columns, where)
        a, b = torch.broadcast_tensors(rows, columns)
        return fill(a, b, call, labels)
    only = rows if rows is not None else columns
    # The operand without channels has a fixed size along the axes that both share.
    if only is not None and labels.constant_along(only, range(only.ndim - 2)) is None:
        labels.freeze(only, where)
    return only


def _contracted(known: Tensor | None, axis: int, labels: Labels, where: str) -> Tensor | None:
    return None if known is None else labels.tie_along(known, [axis % known.ndim], where)


def _add(addend: Tensor, scores: Tensor, call: Call, labels: Labels) -> None:
    known = labels.get(addend)
    if known is None:
        meet(scores, addend, call, labels)
    else:
        wide = known.expand(scores.shape)
        labels.tie(scores, wide)
        fill(scores, wide, call, labels)


def _note_product(known: Tensor, width: int, call: Call, labels: Labels) -> None:
    """Which channels do the work, and whether they are heads of the running module.

    Heads vary along the batch axes of the product.
    """
    line = known
    for axis in (known.ndim - 1, known.ndim - 2):
        if labels.constant_along(line, [axis]) is not None:
            line = line.narrow(axis, 0, 1)
    labels.products.append(Product(labels=line.reshape(-1), macs=call.macs))
    rows = known.narrow(-1, 0, 1).narrow(-2, 0, 1).reshape(math.prod(known.shape[:-2]))
    if len(rows) > 1 and labels.constant_along(rows, [0]) is None:
        labels.heads.append(Heads(module=call.module(), labels=rows, width=width))
