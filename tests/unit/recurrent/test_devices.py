"""The same draws give the same beliefs and gradients in another precision and on a GPU."""

from __future__ import annotations

import copy

import pytest
import torch

from prunella.recurrent import PFGRU, PFLSTM
from prunella.recurrent.filtering import observe
from prunella.recurrent.norm import normalisers

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
B, T, K, H = 3, 6, 5, 8


def run(cell, device, dtype):
    """Beliefs of all steps and all gradients, from draws that were made on the CPU."""
    cell = copy.deepcopy(cell).to(device=device, dtype=dtype)
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape, uniform=False):
        make = torch.rand if uniform else torch.randn
        return make(shape, generator=generator).to(device=device, dtype=dtype)

    belief = cell.initial_belief(B).to(dtype)
    belief = type(belief)(
        particles=drawn(B, K, H, uniform=True), log_weights=belief.log_weights,
        memory=None if belief.memory is None else drawn(B, K, H, uniform=True),
    )  # fmt: skip
    gates, scores = cell._of_inputs(drawn(T, B, 3))
    found = []
    norms = normalisers(cell.norm, belief, [B] * T)
    for gate, score, norm in zip(gates, scores, norms, strict=True):
        belief = cell._transition(belief, gate, drawn(B, K, H), norm)
        step = observe(
            belief, cell._scores(belief.particles, score),
            lambda each: drawn(B, each, uniform=True),
            when="always", scheme="multinomial", alpha=0.5, ess_threshold=0.5,
        )  # fmt: skip
        belief = step.belief
        found += [belief.mean(), belief.log_weights, step.ancestors]
    sum(part.square().sum() for part in found if part.is_floating_point()).backward()
    return [*found, *(p.grad for p in cell.parameters() if p.grad is not None)]


@pytest.mark.parametrize("Cell", [PFLSTM, PFGRU])
@pytest.mark.parametrize(
    ("device", "dtype"),
    [("cpu", torch.float64), pytest.param("cuda", torch.float32, marks=NEEDS_GPU)],
)
def test_the_same_draws_give_the_same_beliefs_and_gradients(Cell, device, dtype):
    torch.manual_seed(1)
    cell = Cell(3, H, K, control_size=4, observation_size=4)
    expected = run(cell, "cpu", torch.float32)
    for own, wanted in zip(run(cell, device, dtype), expected, strict=True):
        torch.testing.assert_close(own.cpu().to(wanted.dtype), wanted, rtol=2e-4, atol=2e-5)
