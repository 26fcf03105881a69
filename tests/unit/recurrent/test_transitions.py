"""The transitions against plain torch, finite differences, and torch's own cells."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prunella.recurrent import PFGRU, PFLSTM, Belief
from prunella.recurrent.kernels import GRUTransition, LSTMTransition, Norm, Setting
from prunella.recurrent.norm import normalisers

B, K, H = 3, 4, 5
ACTIVATIONS = {"leaky_relu": F.leaky_relu, "relu": F.relu, "tanh": torch.tanh}


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def setting(kind, activation, own, dtype=torch.float64):
    channels = {"feature": H, "slot": K, "none": 0}[kind]
    norm = None
    if channels:
        norm = Norm(
            per_slot=kind == "slot",
            mean=numbers(channels, seed=8),
            variance=numbers(channels, seed=9).square() + 0.5,
            batch_statistics=own,
            eps=1e-5,
            numbers=B * (K if kind == "feature" else H),
        )
    return Setting(activation=activation, norm=norm, product_dtype=dtype), channels


def plain_candidate(mean, spread, noise, weight, bias, chosen):
    """Equations one after another, with torch's own functions."""
    drawn = mean if noise is None else mean + F.softplus(spread) * noise
    norm = chosen.norm
    if norm is not None:
        shaped = drawn.view(-1, K, H) if norm.per_slot else drawn
        drawn = F.batch_norm(
            shaped, norm.mean.clone(), norm.variance.clone(), weight, bias,
            norm.batch_statistics, 0.1, 1e-5,
        ).view_as(drawn)  # fmt: skip
    return ACTIVATIONS[chosen.activation](drawn)


def plain_lstm(states, memory, weight, inputs, scale, shift, noise, chosen):
    gates = states @ weight.t() + inputs.repeat_interleave(K, 0)
    forget, entry, out, mean, spread = gates.chunk(5, 1)
    candidate = plain_candidate(mean, spread, noise, scale, shift, chosen)
    memory = forget.sigmoid() * memory + entry.sigmoid() * candidate
    return out.sigmoid() * memory.tanh(), memory


def plain_gru(states, gate_weight, candidate_weight, inputs, scale, shift, noise, chosen):
    tiled = inputs.repeat_interleave(K, 0)
    keep, reset = (states @ gate_weight.t() + tiled[:, : 2 * H]).sigmoid().chunk(2, 1)
    pair = (reset * states) @ candidate_weight.t() + tiled[:, 2 * H :]
    candidate = plain_candidate(*pair.chunk(2, 1), noise, scale, shift, chosen)
    return (1 - keep) * candidate + keep * states


def arguments(cell, channels, noisy):
    rows = B * K
    norm = (numbers(channels, seed=5), numbers(channels, seed=6)) if channels else (None, None)
    noise = numbers(rows, H, seed=7) if noisy else None
    if cell == "lstm":
        first = (numbers(rows, H), numbers(rows, H, seed=1), numbers(5 * H, H, seed=2))
        return (*first, numbers(B, 5 * H, seed=3), *norm, noise)
    first = (numbers(rows, H), numbers(2 * H, H, seed=1), numbers(2 * H, H, seed=2))
    return (*first, numbers(B, 4 * H, seed=3), *norm, noise)


CASES = [
    ("feature", "leaky_relu", True, True),
    ("feature", "leaky_relu", False, True),
    ("slot", "relu", True, True),
    ("slot", "leaky_relu", False, False),
    ("none", "tanh", True, True),
    ("none", "relu", True, False),
]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(("kind", "activation", "own", "noisy"), CASES)
def test_values_and_gradients_are_those_of_plain_torch(cell, kind, activation, own, noisy):
    chosen, channels = setting(kind, activation, own)
    given = arguments(cell, channels, noisy)
    fast, plain = {"lstm": (LSTMTransition, plain_lstm), "gru": (GRUTransition, plain_gru)}[cell]
    results = []
    for function in (plain, fast.apply):
        leaves = [x if x is None or x is given[-1] else x.clone().requires_grad_() for x in given]
        out = function(*leaves, chosen)
        outs = out if isinstance(out, tuple) else (out,)
        total = sum((o * numbers(B * K, H, seed=20 + i)).sum() for i, o in enumerate(outs))
        taking = [x for x in leaves if x is not None and x.requires_grad]
        results.append([*outs, *torch.autograd.grad(total, taking)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("kind", ["feature", "none"])
def test_gradients_by_finite_differences(cell, kind):
    chosen, channels = setting(kind, "leaky_relu", True)
    fast = {"lstm": LSTMTransition, "gru": GRUTransition}[cell]
    given = arguments(cell, channels, True)
    leaves = [x if x is None or x is given[-1] else x.requires_grad_() for x in given]
    assert torch.autograd.gradcheck(lambda *args: fast.apply(*args, chosen), leaves, atol=1e-6)


@pytest.mark.parametrize("Cell", [PFLSTM, PFGRU])
def test_gradients_of_a_whole_run_with_frozen_draws(Cell):
    """Noise and ancestors do not move with the weights; all else is differentiable."""
    cell = Cell(3, 4, 3, control_size=3, observation_size=3, dtype=torch.float64)
    x = numbers(2, 3, 3).requires_grad_()
    names = [name for name, _ in cell.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in cell.parameters()]
    seen = []

    def run(x, *parameters):
        trajectory, _ = torch.func.functional_call(
            _Unrolled(cell), {f"cell.{n}": p for n, p in zip(names, parameters, strict=True)}, (x,)
        )
        seen.append(trajectory.ancestors)
        return trajectory.means(), trajectory.log_weights

    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)
    assert all((ancestors == seen[0]).all() for ancestors in seen)


class _Unrolled(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        return self.cell.unroll(x, generator=torch.Generator().manual_seed(0))


def reduced(Cell, **options):
    cell = Cell(
        3, H, options.pop("count", 1), control_size=None, norm="none", activation="tanh",
        initial="zeros", eval_noise=False, dtype=torch.float64, **options,
    )  # fmt: skip
    return cell.eval()


def test_reduction_to_the_lstm_of_torch():
    cell = reduced(PFLSTM)
    plain = nn.LSTM(3, H, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in (
            (cell.input_gates.weight, plain.weight_ih_l0),
            (cell.hidden_gates.weight, plain.weight_hh_l0),
            (cell.input_gates.bias, plain.bias_ih_l0),
            (cell.hidden_gates.bias, plain.bias_hh_l0),
        ):
            entry, forget, mean, out = theirs.chunk(4)
            ours[: 4 * H] = torch.cat((forget, entry, out, mean))
    x = numbers(B, 6, 3)
    means, belief = cell(x)
    expected, (hidden, memory) = plain(x)
    torch.testing.assert_close(means, expected)
    torch.testing.assert_close(belief.particles[:, 0], hidden[0])
    torch.testing.assert_close(belief.memory[:, 0], memory[0])
    assert (belief.log_weights == 0).all()


def test_reduction_to_a_gru_with_the_reset_before_the_matrix():
    cell = reduced(PFGRU)
    x = numbers(B, 6, 3)
    state = torch.zeros(B, H, dtype=torch.float64)
    for t in range(6):
        of_input = cell.input_gates(x[:, t])
        keep, reset = (
            (of_input[:, : 2 * H] + state @ cell.hidden_gates.weight.t()).sigmoid().chunk(2, 1)
        )
        inner = of_input[:, 2 * H : 3 * H] + (reset * state) @ cell.hidden_candidate.weight[:H].t()
        state = (1 - keep) * inner.tanh() + keep * state
    torch.testing.assert_close(cell(x)[0][:, -1], state)


@pytest.mark.parametrize("Cell", [PFLSTM, PFGRU])
def test_identical_particles_without_noise_are_one(Cell):
    many, one = reduced(Cell, count=7), reduced(Cell)
    one.load_state_dict(many.state_dict())
    x = numbers(B, 6, 3)
    torch.testing.assert_close(many(x)[0], one(x)[0])


@pytest.mark.parametrize("Cell", [PFLSTM, PFGRU])
def test_the_spread_gets_its_gradient_through_the_noise(Cell):
    """With identity activation (large mean), d candidate / d spread is eps sigmoid(spread)."""
    noise = numbers(B * K, H, seed=4)
    chosen = Setting(activation="leaky_relu", norm=None, product_dtype=torch.float64)
    zeros = torch.zeros(B * K, H, dtype=torch.float64)
    spread = numbers(B, H, seed=5).requires_grad_()
    mean = torch.full((B, H), 50.0, dtype=torch.float64)
    if Cell is PFGRU:  # keep gate at 0: the new state is the candidate
        inputs = torch.cat((mean * -10, mean, mean, spread), 1)
        weight = torch.zeros(2 * H, H, dtype=torch.float64)
        out = GRUTransition.apply(zeros, weight, weight, inputs, None, None, noise, chosen)
    else:  # entry gate at 1: the new memory is the candidate
        inputs = torch.cat((mean, mean * 10, mean, mean, spread), 1)
        weight = torch.zeros(5 * H, H, dtype=torch.float64)
        _, out = LSTMTransition.apply(zeros, zeros, weight, inputs, None, None, noise, chosen)
    (gradient,) = torch.autograd.grad(out.sum(), spread)
    torch.testing.assert_close(gradient, noise.view(B, K, H).sum(1) * spread.sigmoid())


@pytest.mark.parametrize("Cell", [PFLSTM, PFGRU])
@pytest.mark.parametrize("training", [True, False])
def test_particles_can_be_permuted(Cell, training):
    """Transition and weights follow a permutation of particles and noise; the mean ignores it."""
    cell = Cell(3, H, K, resampling="never", dtype=torch.float64).train(training)
    x = numbers(B, 3)
    turn = torch.tensor([2, 0, 3, 1])
    noise = numbers(B, K, H, seed=3)
    logs = numbers(B, K, seed=4).log_softmax(1)
    memory = numbers(B, K, H, seed=2) if Cell is PFLSTM else None
    belief = Belief(particles=numbers(B, K, H, seed=1), log_weights=logs, memory=memory)
    cell_step = _with_noise(cell, noise)
    there = cell_step(x, belief)
    turned = _with_noise(cell, noise[:, turn])(x, belief.each(lambda tensor: tensor[:, turn]))
    torch.testing.assert_close(turned.particles, there.particles[:, turn])
    torch.testing.assert_close(turned.log_weights, there.log_weights[:, turn])
    torch.testing.assert_close(turned.mean(), there.mean())


def _with_noise(cell, noise):
    def run(x, belief):
        gates, scores = cell._of_inputs(x.unsqueeze(0))
        (norm,) = normalisers(cell.norm, belief, [len(x)])
        moved = cell._transition(belief, gates[0], noise, norm)
        from prunella.recurrent import reweight

        logs = reweight(moved.log_weights, cell._scores(moved.particles, scores[0]))
        return Belief(particles=moved.particles, log_weights=logs)

    return run


@pytest.mark.parametrize("Cell", [PFLSTM, PFGRU])
def test_one_number_is_normalised_with_the_running_statistics(Cell):
    cell = Cell(3, H, 1, dtype=torch.float64)
    cell.norm.running_mean.uniform_()
    before = cell.norm.running_mean.clone()
    x = numbers(1, 4, 3)
    generator = torch.Generator()
    training = cell.train()(x, generator=generator.manual_seed(0))[0]
    training.sum().backward()
    evaluated = cell.eval()(x, generator=generator.manual_seed(0))[0]
    torch.testing.assert_close(training, evaluated)
    assert (cell.norm.running_mean == before).all()
    assert all(p.grad.isfinite().all() for p in cell.parameters() if p.grad is not None)
