"""What a search does not do twice, and what it does not copy."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kernel_calls import WAYS, caught, close, each, take
from prunella.sensitivity import compiled
from prunella.sensitivity.kernels import Prepared, Reader, raised
from prunella.sensitivity.pieces import pieces
from prunella.sensitivity.reference import reference_sensitivities


@pytest.mark.parametrize(("share", "times"), [(14, 1), (10, 2)])
def test_weights_are_put_in_order_once_if_there_are_twelve_bytes_for_each(
    share, times, monkeypatch
):
    take(WAYS[1], monkeypatch)
    torch.manual_seed(8)
    layer = nn.Conv2d(64, 48, 1)
    seen = caught(layer, torch.relu(torch.randn(1, 64, 4, 4)))
    made, rows_of = [], compiled.rows_of
    monkeypatch.setattr(compiled, "rows_of", lambda norms: made.append(0) or rows_of(norms))
    prepared = Prepared(1 << 20)
    prepared.left = share * layer.weight.numel()
    best = torch.zeros(64, dtype=torch.float64)
    for _ in range(2):
        (best,) = raised(seen, [Reader(units=each(64), best=best)], prepared)
    assert len(made) == times
    close(best, reference_sensitivities(seen.call, each(64)))


def test_inputs_that_a_stride_leaves_over_are_no_reason_for_a_copy():
    call = caught(nn.Conv2d(3, 4, 1, stride=2), torch.randn(2, 3, 6, 6)).call
    (piece,) = pieces(call, None, units=3, signed=True, memory=1 << 30, lean=True)
    assert piece.call.inputs.data_ptr() == call.inputs.data_ptr()
    assert piece.call.inputs.is_contiguous()
    assert piece.positions == (3, 3)
