"""Shapes and steps of results on the meta device: the quick answers are torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from prunella.ops.copies import modules_of
from prunella.ops.shapes import result_on_meta

ATEN = torch.ops.aten


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


ROWS = meta(2, 6, 4)
TURNED = meta(2, 4, 6).transpose(1, 2)
GAPPY = meta(2, 6, 8)[:, :, ::2]
CASES: list[tuple[Any, tuple[Any, ...]]] = [
    *[
        (operation, (rows,))
        for operation in (ATEN.relu.default, ATEN.exp.default, ATEN.neg.default, ATEN.clone.default)
        for rows in (ROWS, TURNED, GAPPY)
    ],
    *[
        (operation, (left, right))
        for operation in (ATEN.add.Tensor, ATEN.mul.Tensor, ATEN.div.Tensor)
        for left in (ROWS, TURNED, GAPPY, meta(6, 1))
        for right in (ROWS, TURNED, meta(4), meta(2, 1, 1), meta(1, 6, 4), 2.0)
    ],
    *[(ATEN._softmax.default, (rows, 1, False)) for rows in (ROWS, TURNED, GAPPY)],
    *[
        (ATEN.mean.dim, (rows, axes, keep))
        for rows in (ROWS, TURNED)
        for axes in ([1], [-1, 0], [2])
        for keep in (True, False)
    ],
    (ATEN.mean.dim, (ROWS, None, False)),
    (ATEN.cat.default, ([ROWS, meta(2, 1, 4)], -2)),
    (ATEN.cat.default, ([ROWS, ROWS], 1)),
    (ATEN.cat.default, ([TURNED, ROWS], 1)),
    (ATEN.cat.default, ([meta(0), ROWS], 1)),
    (ATEN.bmm.default, (ROWS, meta(2, 4, 5))),
    (ATEN.bmm.default, (TURNED, meta(2, 5, 4).mT)),
    (ATEN.roll.default, (ROWS, [1, 2], [0, -1])),
    (ATEN.roll.default, (TURNED, [1], [1])),
    (ATEN.clamp.default, (TURNED, 0, None)),
    (ATEN.mul.Scalar, (TURNED, 0.5)),
    (ATEN.index.Tensor, (ROWS, [torch.zeros(3, dtype=torch.int64, device="meta")])),
    (ATEN.index.Tensor, (ROWS, [None, torch.zeros(3, dtype=torch.int64, device="meta")])),
]


@pytest.mark.parametrize(("operation", "args"), CASES)
def test_quick_answers_are_those_of_torch(operation: Any, args: tuple[Any, ...]) -> None:
    found, expected = result_on_meta(operation, args, {}), operation(*args)
    assert found.is_meta
    assert (found.shape, found.stride(), found.dtype) == (
        expected.shape,
        expected.stride(),
        expected.dtype,
    )


@pytest.mark.parametrize("operation", [ATEN.add.Tensor, ATEN.bmm.default, ATEN.cat.default])
def test_shapes_that_do_not_fit_are_refused_as_by_torch(operation: Any) -> None:
    args = ([ROWS, meta(3, 6, 5)], 1) if operation is ATEN.cat.default else (ROWS, meta(3, 5, 5))
    with pytest.raises((RuntimeError, IndexError)):
        result_on_meta(operation, args, {})


def test_other_types_are_left_to_torch() -> None:
    found = result_on_meta(ATEN.add.Tensor, (meta(4), meta(3, 4).double()), {})
    assert (found.shape, found.dtype) == ((3, 4), torch.float64)


def test_modules_come_in_the_order_of_torch() -> None:
    shared = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model = nn.Sequential(nn.Sequential(nn.Tanh(), shared), shared, nn.Sequential(shared[0]))
    assert modules_of(model) == list(model.modules())
    assert len(modules_of(model)) == 7
