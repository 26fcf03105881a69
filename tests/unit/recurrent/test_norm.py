"""Batch norm by step: merged moments, the row of a step, and evaluation as in training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunella.core.errors import InputError
from prunella.recurrent import PFGRU, PFLSTM, Belief
from prunella.recurrent.norm import StepNorm, record
from prunella.tasks import BatchNormRNN

CELLS = pytest.mark.parametrize("Cell", [PFLSTM, PFGRU])


def one_pass(norm, first, values):
    """What a network does with a norm; values[t] is (numbers, C)."""
    norms = norm.norms(first, [len(step) for step in values], torch.float64)
    for step, how in zip(values, norms, strict=True):
        nn.functional.batch_norm(
            step, how.mean, how.variance, None, None, how.batch_statistics, 1.0, how.eps
        )
    record(norm, norms, first)


def test_statistics_are_those_of_all_numbers_with_weights_that_decay():
    """Against all numbers that a row ever saw, side by side; steps beyond share the last row."""
    torch.manual_seed(0)
    norm = StepNorm(2, 3, dtype=torch.float64)
    seen = [[], [], []]
    for width in (6, 40, 5, 12):
        values = [3 * t + (t + 1) * torch.randn(width - t, 2).double() for t in range(5)]
        values = [step for step in values if len(step) > 1]
        one_pass(norm, 0, values)
        for row in range(3):
            mine = values[row : row + 1] if row < 2 else values[2:]
            if mine:
                seen[row] = [(0.9 * weight, step) for weight, step in seen[row]]
                seen[row] += [(1.0, step) for step in mine]
    for row, parts in enumerate(seen):
        weights = torch.cat([torch.full((len(step), 1), w).double() for w, step in parts])
        numbers = torch.cat([step for _, step in parts])
        total = weights.sum()
        mean = (weights * numbers).sum(0) / total
        # Of a step's own numbers the unbiased variance is kept, as ever in batch norm.
        inner = sum(w * len(step) * step.var(0) for w, step in parts) / total
        centres = [(w * len(step), step.mean(0)) for w, step in parts]
        outer = sum(w * (centre - mean).square() for w, centre in centres) / total
        torch.testing.assert_close(norm.running_mean[row], mean)
        torch.testing.assert_close(norm.running_var[row], inner + outer)
        torch.testing.assert_close(norm.running_count[row], total)


def test_batches_of_one_sequence_find_the_spread_between_sequences():
    """Which means of the variances of batches do not: within a batch there is hardly any."""
    torch.manual_seed(0)
    norm = StepNorm(1, 1, dtype=torch.float64)
    for _ in range(400):
        one_pass(norm, 0, [3 * torch.randn(1, 1).double() + 0.01 * torch.randn(4, 1).double()])
    assert 2 < float(norm.running_var) < 25  # 9 by some 20 sequences
    assert abs(float(norm.running_mean)) < 3


def test_steps_that_were_never_seen_take_the_last_one_before():
    norm = StepNorm(1, 6, dtype=torch.float64).eval()

    def means(first, times):
        return [float(how.mean) for how in norm.norms(first, [4] * times, torch.float64)]

    norm.running_mean.copy_(torch.arange(6.0).view(6, 1) + 10)
    assert means(0, 3) == [10, 10, 10]  # nothing was seen at all
    norm.running_count[0] = norm.running_count[2] = 8
    assert means(0, 8) == [10, 10, 12, 12, 12, 12, 12, 12]
    assert means(2, 2) == [12, 12]
    norm.running_count.fill_(8)
    assert means(3, 5) == [13, 14, 15, 15, 15]
    assert means(50, 1) == [15]


def changing(batch=40, steps=6):
    """Inputs whose mean and spread change from step to step."""
    generator = torch.Generator().manual_seed(3)
    scale = torch.tensor([1.0, 8.0, 0.1, 20.0, 1.0, 5.0])[:steps].view(1, -1, 1)
    return scale * (torch.randn(batch, steps, 3, generator=generator) + 1)


def fixed(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("norm", ["feature", "slot"])
@CELLS
def test_evaluation_normalises_as_training_did(Cell, norm):
    """The same draws: what is left is the variance's n - 1 in place of n. Pooled: far away."""
    x = changing()
    gaps = []
    for steps in (100, 1):
        torch.manual_seed(0)
        cell = Cell(3, 8, 10, norm=norm, norm_steps=steps)
        trained, _ = cell.train()(x, generator=fixed())
        evaluated, _ = cell.eval()(x, generator=fixed())
        gaps.append(float(((evaluated - trained).square().mean() / trained.var()).detach()))
    assert gaps[0] < 1e-3
    assert gaps[1] > 30 * gaps[0]


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_so_does_the_cell_without_a_belief(kind):
    torch.manual_seed(0)
    cell = BatchNormRNN(kind, 3, 8)
    x = changing(batch=400)
    trained = cell.train()(x)
    torch.testing.assert_close(cell.eval()(x), trained, rtol=0.02, atol=0.02)
    cell.norm.running_mean.copy_(cell.norm.running_mean.mean(0).expand(100, 8))
    assert float((cell.eval()(x) - trained).detach().abs().max()) > 0.3


def with_statistics(cell):
    """A cell in evaluation with random statistics, seen at the first seven steps."""
    norm = cell.norm
    norm.running_mean.normal_(generator=fixed(7))
    norm.running_var.uniform_(0.5, 2, generator=fixed(8))
    norm.running_count[:7] = 10
    return cell.eval()


@CELLS
def test_a_belief_that_is_passed_on_knows_its_step(Cell):
    """In parts, and step by step, a network does what it does in one go."""
    torch.manual_seed(0)
    cell = with_statistics(Cell(3, 8, 5))
    x = torch.randn(2, 9, 3)
    generator = fixed()
    start = cell.initial_belief(2, generator=generator)
    whole, final = cell(x, start, generator=fixed(1))
    generator = fixed(1)
    first, belief = cell(x[:, :4], start, generator=generator)
    second, _ = cell(x[:, 4:8], belief, generator=generator)
    assert belief.steps == 4
    last = cell.step(x[:, 8], _, generator=generator)
    torch.testing.assert_close(torch.cat((first, second), 1), whole[:, :8])
    torch.testing.assert_close(last.mean(), whole[:, 8])
    assert last.steps == final.steps == 9
    # Where the step is forgotten the result is another one.
    forgotten = Belief(
        particles=belief.particles, log_weights=belief.log_weights, memory=belief.memory
    )
    assert not torch.allclose(cell(x[:, 4:8], forgotten, generator=fixed(1))[0], second)


@CELLS
def test_later_passes_do_not_touch_gradients_of_earlier_ones(Cell):
    """Evaluation with gradients, then a training pass that moves the statistics, then backward."""
    torch.manual_seed(0)
    cell = with_statistics(Cell(3, 4, 3))
    x = torch.randn(4, 5, 3)
    cell(x, generator=fixed())[0].sum().backward()
    expected = [p.grad.clone() for p in cell.parameters() if p.grad is not None]
    cell.zero_grad()
    out = cell(x, generator=fixed())[0].sum()
    cell.train()(10 * x, generator=fixed(1))
    out.backward()
    for found, wanted in zip(
        [p.grad for p in cell.parameters() if p.grad is not None], expected, strict=True
    ):
        torch.testing.assert_close(found, wanted)


def test_statistics_of_ended_sequences_end():
    cell = PFLSTM(3, 4, 5)
    cell(torch.randn(3, 4, 3), lengths=[1, 2, 4])
    assert cell.norm.running_count[:5].tolist() == [15, 10, 5, 5, 0]


@CELLS
def test_training_in_parts_finds_the_statistics_of_the_whole(Cell):
    """As with truncated backpropagation."""
    torch.manual_seed(0)
    whole, parts = Cell(3, 4, 5), Cell(3, 4, 5)
    parts.load_state_dict(whole.state_dict())
    x, start = torch.randn(4, 6, 3), whole.initial_belief(4)
    whole(x, start, generator=fixed(1))
    generator = fixed(1)
    _, belief = parts(x[:, :3], start, generator=generator)
    parts(x[:, 3:], belief.detach(), generator=generator)
    for found, wanted in zip(parts.norm.buffers(), whole.norm.buffers(), strict=True):
        torch.testing.assert_close(found, wanted)
    assert whole.norm.running_count[:7].tolist() == [20] * 6 + [0]


def test_bad_numbers_of_steps():
    with pytest.raises(InputError, match="norm_steps is 0; expected a whole number of at least 1"):
        PFLSTM(3, 4, 5, norm_steps=0)
