"""Sequences of different lengths, packed or padded; beliefs in and out; one step at a time."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from prunella import InputError
from prunella.recurrent import PFGRU, PFLSTM, Belief, fixed_generator, regression_loss

B, T, D, H, K = 4, 6, 3, 5, 7
CELLS = pytest.mark.parametrize("Cell", [PFLSTM, PFGRU])
LENGTHS = [4, 6, 0, 3]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def inputs(batch=B, time=T, seed=0):
    return torch.randn(batch, time, D, generator=generator(seed))


def equal(first: Belief, second: Belief, **close):
    for one, other in (
        (first.particles, second.particles),
        (first.log_weights, second.log_weights),
        (first.memory, second.memory),
    ):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, **close)


@CELLS
def test_shapes_and_normalised_weights(Cell):
    cell = Cell(D, H, K)
    means, belief = cell(inputs(), generator=generator())
    trajectory, final = cell.unroll(inputs(), generator=generator())
    assert means.shape == (B, T, H)
    assert belief.particles.shape == (B, K, H)
    assert trajectory.particles.shape == (B, T, K, H)
    assert trajectory.filtered_log_weights.shape == trajectory.ancestors.shape == (B, T, K)
    for logs in (trajectory.log_weights, trajectory.filtered_log_weights, final.log_weights):
        assert (logs.logsumexp(-1).abs() <= 1e-6).all()
    assert (belief.memory is not None) == (Cell is PFLSTM)


@CELLS
def test_the_whole_belief_over_time_is_that_of_forward(Cell):
    cell = Cell(D, H, K).eval()
    means, belief = cell(inputs(), lengths=LENGTHS, generator=generator())
    trajectory, final = cell.unroll(inputs(), lengths=LENGTHS, generator=generator())
    torch.testing.assert_close(trajectory.means(), means)
    equal(belief, final, rtol=0, atol=0)
    last = trajectory.particles[range(B), [max(length - 1, 0) for length in LENGTHS]]
    ended = torch.tensor(LENGTHS) > 0
    torch.testing.assert_close(last[ended], final.particles[ended])
    assert (trajectory.particles[2] == 0).all()
    assert (trajectory.log_weights[2] == torch.tensor(-math.log(K))).all()


@CELLS
def test_steps_one_by_one_are_the_sequence(Cell):
    cell, draws = Cell(D, H, K).eval(), generator()
    means, final = cell(inputs(), generator=generator())
    belief = cell.initial_belief(B, generator=draws)
    for t in range(T):
        belief = cell.step(inputs()[:, t], belief, generator=draws)
        torch.testing.assert_close(belief.mean(), means[:, t])
    equal(belief, final)


@CELLS
def test_a_belief_goes_on_where_it_ended(Cell):
    cell, draws = Cell(D, H, K).eval(), generator()
    means, final = cell(inputs(), generator=generator())
    first, belief = cell(inputs()[:, :2], generator=draws)
    rest, ended = cell(inputs()[:, 2:], belief, generator=draws)
    torch.testing.assert_close(torch.cat((first, rest), 1), means)
    equal(ended, final)


@CELLS
@pytest.mark.parametrize("scheme", ["multinomial", "systematic"])
def test_a_sequence_stops_at_its_end(Cell, scheme):
    """As if it was that long; what stands in the padding does not matter, zero steps neither."""
    cell = Cell(D, H, K, scheme=scheme).train()
    state = copy.deepcopy(cell.state_dict())
    means, belief = cell(inputs(), lengths=LENGTHS, generator=generator())
    buffers = copy.deepcopy(cell.state_dict())
    padded = inputs()
    for row, length in enumerate(LENGTHS):
        padded[row, length:] = math.nan
        assert (means[row, length:] == 0).all()
    cell.load_state_dict(state)
    again, ended = cell(padded, lengths=torch.tensor(LENGTHS), generator=generator())
    torch.testing.assert_close(again, means, rtol=0, atol=0)
    equal(ended, belief, rtol=0, atol=0)
    for name, value in cell.state_dict().items():
        torch.testing.assert_close(value, buffers[name], rtol=0, atol=0)
    begin = cell.initial_belief(B, generator=generator())
    torch.testing.assert_close(belief.particles[2], begin.particles[2], rtol=0, atol=0)


@CELLS
def test_gradients_ignore_the_padding(Cell):
    cell = Cell(D, H, K)
    x = inputs().requires_grad_()
    means, belief = cell(x, lengths=LENGTHS, generator=generator())
    (means.square().sum() + belief.particles.square().sum()).backward()
    for row, length in enumerate(LENGTHS):
        assert (x.grad[row, length:] == 0).all()
        assert (x.grad[row, :length] != 0).any() == (length > 0)
    assert all(p.grad.isfinite().all() for p in cell.parameters())


@CELLS
def test_nobodys_draws_depend_on_the_lengths_of_others(Cell):
    cell = Cell(D, H, K).eval()
    ragged, _ = cell(inputs(), lengths=[T, 1, 2, T], generator=generator())
    full, _ = cell(inputs(), generator=generator())
    torch.testing.assert_close(ragged[[0, 3]], full[[0, 3]])


@CELLS
@pytest.mark.parametrize("training", [True, False])
def test_packed_is_padded(Cell, training):
    cell = Cell(D, H, K).train(training)
    lengths = torch.tensor([4, 6, 1, 3])
    packed = pack_padded_sequence(inputs(), lengths, batch_first=True, enforce_sorted=False)
    expected, final = cell(inputs(), lengths=lengths, generator=generator())
    found, ended = cell(packed, generator=generator())
    padded, counts = pad_packed_sequence(found, batch_first=True)
    assert counts.tolist() == lengths.tolist()
    torch.testing.assert_close(padded, expected)
    equal(ended, final)
    trajectory, _ = cell.unroll(packed, generator=generator())
    assert trajectory.particles.shape == (4, 6, K, H)


def test_packed_without_an_order():
    cell = PFGRU(D, H, K).eval()
    packed = pack_sequence([inputs(1, 5)[0], inputs(1, 2, seed=1)[0]])
    assert packed.sorted_indices is None
    means, belief = cell(packed, generator=generator())
    assert means.data.shape == (7, H)
    assert belief.particles.shape == (2, K, H)


@CELLS
def test_time_first(Cell):
    cell, other = Cell(D, H, K), Cell(D, H, K, batch_first=False)
    other.load_state_dict(cell.state_dict())
    means, _ = cell.eval()(inputs(), generator=generator())
    turned, _ = other.eval()(inputs().transpose(0, 1), generator=generator())
    torch.testing.assert_close(turned.transpose(0, 1), means)


@CELLS
@pytest.mark.parametrize("lengths", [None, [0, 0]])
@pytest.mark.parametrize("time", [0, 3])
def test_no_steps_at_all(Cell, time, lengths):
    cell = Cell(D, H, K)
    if time and lengths is None:
        lengths = [0, 0]
    means, belief = cell(torch.zeros(2, time, D), lengths=lengths, generator=generator())
    assert means.shape == (2, time, H)
    assert (means == 0).all()
    equal(belief, cell.initial_belief(2, generator=generator()), rtol=0, atol=0)
    trajectory, _ = cell.unroll(torch.zeros(2, time, D), lengths=lengths)
    assert trajectory.ancestors.shape == (2, time, K)


@CELLS
@pytest.mark.parametrize(("batch", "count"), [(1, 1), (1, 6), (3, 1)])
def test_one_sequence_and_one_particle(Cell, batch, count):
    for norm in ("feature", "slot", "none"):
        cell = Cell(D, H, count, norm=norm)
        means, belief = cell(inputs(batch), lengths=[T, 2, 0][:batch], generator=generator())
        means.sum().backward()
        assert means.isfinite().all()
        assert belief.particles.shape == (batch, count, H)
        if count == 1:
            assert (belief.log_weights == 0).all()
        assert all(p.grad.isfinite().all() for p in cell.parameters() if p.grad is not None)


@CELLS
def test_one_particle_is_its_own_ancestor(Cell):
    trajectory, _ = Cell(D, H, 1).unroll(inputs())
    assert (trajectory.ancestors == 0).all()
    assert (trajectory.log_weights == 0).all()


@CELLS
def test_another_number_of_particles(Cell):
    cell = Cell(D, H, K).eval()
    cell.num_particles = 50
    assert cell(inputs())[1].num_particles == 50
    wide = cell.initial_belief(B)
    cell.num_particles = 3
    assert cell(inputs(), wide)[1].num_particles == 50


@CELLS
def test_detached_steps(Cell):
    """Forward as ever; no gradient from behind the last boundary, all of it from after it."""
    cell, gradients = Cell(D, H, K, dtype=torch.float64), {}
    for every in (None, 4):
        cell.detach_every = every
        x = inputs().double().requires_grad_()
        means, _ = cell(x, generator=generator())
        (gradients[every],) = torch.autograd.grad(means[:, 5].sum(), x)
        gradients[every] = (gradients[every], means.detach())
    whole, cut = gradients[None][0], gradients[4][0]
    torch.testing.assert_close(gradients[None][1], gradients[4][1], rtol=0, atol=0)
    assert (cut[:, :4] == 0).all()
    assert (whole[:, :4] != 0).any()
    torch.testing.assert_close(cut[:, 4:], whole[:, 4:])


@CELLS
def test_seeded_runs_repeat_and_leave_the_global_state_alone(Cell):
    cell = Cell(D, H, K)
    before = torch.get_rng_state()
    first, second, other = (cell(inputs(), generator=generator(s))[0] for s in (1, 1, 2))
    assert (torch.get_rng_state() == before).all()
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert not torch.equal(first, other)
    torch.manual_seed(5)
    free = cell(inputs())[0]
    torch.manual_seed(5)
    torch.testing.assert_close(cell(inputs())[0], free, rtol=0, atol=0)


@CELLS
def test_deterministic_evaluation_is_a_function_of_each_sequence(Cell):
    cell = Cell(D, H, K, deterministic=True)
    assert not torch.equal(cell(inputs())[0], cell(inputs())[0]), "training stays random"
    cell.eval()
    means, belief = cell(inputs())
    torch.testing.assert_close(cell(inputs())[0], means, rtol=0, atol=0)
    alone = torch.cat([cell(x)[0] for x in inputs().split(1)])
    torch.testing.assert_close(alone, means)
    assert belief.particles.std(1).min() > 0, "particles stay apart"
    for again in (
        lambda: cell.step(inputs()[:, 0], belief),
        lambda: cell(inputs(), belief),
        lambda: cell.unroll(inputs(), belief),
    ):
        with pytest.raises(InputError, match="the draws of before would be made again"):
            again()
    draws = fixed_generator()
    stepped = cell.initial_belief(B, generator=draws)
    for x in inputs().unbind(1):
        stepped = cell.step(x, stepped, generator=draws)
    equal(stepped, cell(inputs())[1])


@CELLS
def test_noise_can_be_left_out_in_evaluation(Cell):
    cell = Cell(D, H, K, eval_noise=False, initial="zeros", resampling="never")
    first = cell.eval()(inputs())[0]
    torch.testing.assert_close(cell(inputs())[0], first, rtol=0, atol=0)
    cell.train()
    assert not torch.equal(cell(inputs())[0], cell(inputs())[0])


@CELLS
def test_resampling_choices(Cell):
    never, always = Cell(D, H, K, resampling="never"), Cell(D, H, K)
    sometimes = Cell(D, H, K, resampling="ess", ess_threshold=0.7)
    own = torch.arange(K).expand(B, T, K)
    for cell in (never, always, sometimes):
        torch.nn.init.normal_(cell.score.weight, std=1, generator=generator())
    assert (never.unroll(inputs(), generator=generator())[0].ancestors == own).all()
    assert (always.unroll(inputs(), generator=generator())[0].ancestors != own).any(-1).all()
    trajectory, _ = sometimes.unroll(inputs(), generator=generator())
    poor = trajectory.effective_sample_size() < 0.7 * K
    assert poor.any()
    assert not poor.all()
    assert ((trajectory.ancestors == own).all(-1) == ~poor).all()


def test_effective_sample_size():
    logs = torch.log(torch.tensor([[0.25] * 4, [1 - 3e-9, 1e-9, 1e-9, 1e-9], [0.5, 0.5, 0, 0]]))
    belief = Belief(particles=torch.zeros(3, 4, 1), log_weights=logs)
    torch.testing.assert_close(belief.effective_sample_size(), torch.tensor([4.0, 1.0, 2.0]))


@CELLS
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_what_the_score_learns_from(Cell, alpha):
    """One step, mean read after resampling: nothing at alpha = 1, something below."""
    cell = Cell(D, H, K, alpha=alpha, dtype=torch.float64)
    means, _ = cell(inputs(time=1).double(), generator=generator())
    means.square().sum().backward()
    assert (cell.score.weight.grad[0, :H] != 0).any() == (alpha < 1)
    assert (cell.input_gates.weight.grad != 0).any()


@CELLS
def test_observation_features_cancel_in_the_weights_of_a_linear_score(Cell):
    for clamp in (False, True):
        cell = Cell(D, H, K, score_clamp=clamp, dtype=torch.float64)
        torch.nn.init.zeros_(cell.score.bias)  # scores around a bend of the clamp
        means, _ = cell(inputs().double(), generator=generator())
        means.square().sum().backward()
        largest = cell.observation.weight.grad.abs().max()
        assert (largest > 1e-6) == clamp


@CELLS
def test_copies_and_files(Cell):
    cell = Cell(D, H, K)
    cell(inputs())
    twin, other = copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))
    fresh = Cell(D, H, K)
    fresh.load_state_dict(cell.state_dict())
    expected = cell(inputs(), generator=generator())
    for same in (twin, other, fresh):
        found = same(inputs(), generator=generator())
        torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0)
    belief = pickle.loads(pickle.dumps(expected[1].detach()))
    equal(belief, expected[1].detach(), rtol=0, atol=0)


def test_parameters_are_as_many_as_in_the_public_code():
    for Cell, count in ((PFLSTM, 35_677), (PFGRU, 29_149)):
        cell = Cell(64, 64, 30, norm="slot")
        assert sum(p.numel() for p in cell.parameters()) == count


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": 1.5}, "alpha is 1.5; expected a number from 0 to 1"),
        ({"ess_threshold": -1}, "ess_threshold is -1"),
        ({"scheme": "sorted"}, "scheme is 'sorted'; expected one of multinomial, systematic"),
        ({"norm": "layer"}, "norm is 'layer'; expected one of feature, slot, none"),
        ({"detach_every": 0}, "detach_every is 0; expected a whole number of at least 1"),
        ({"num_particles": 2.5}, "num_particles is 2.5"),
    ],
)
def test_mistakes_in_building(options, words):
    with pytest.raises(InputError, match=words):
        PFLSTM(**({"input_size": D, "hidden_size": H, "num_particles": K} | options))


def test_mistakes_in_calling():
    cell, slots = PFLSTM(D, H, K), PFGRU(D, H, K, norm="slot")
    packed = pack_sequence([inputs(1, 5)[0]])
    belief = slots.initial_belief(B)
    cases = [
        (lambda: cell(torch.zeros(B, D)), r"x has shape \(4, 3\)"),
        (lambda: cell(torch.zeros(B, T, D + 1)), r"with D = 3"),
        (lambda: cell(torch.zeros(B, T, D, dtype=torch.long)), "type torch.int64"),
        (lambda: cell(inputs(), lengths=[1, 2, 3]), "for 4 sequences of at most 6 steps"),
        (lambda: cell(inputs(), lengths=[1, 2, 3, 7]), "whole numbers from 0 to 6"),
        (lambda: cell(inputs(), lengths=torch.ones(B)), "lengths have type torch.float32"),
        (lambda: cell(packed, lengths=[5]), "PackedSequence, which has its own"),
        (lambda: PFGRU(9, H, K)(packed), "the packed data have shape"),
        (lambda: cell(inputs(), belief), "the belief has no memory"),
        (lambda: slots(inputs(2), belief), r"expected \(B, K, H\) with B = 2"),
        (lambda: slots(inputs(), PFGRU(D, H, 3).initial_belief(B)), "norm='slot' fixes"),
        (lambda: cell.step(inputs(), cell.initial_belief(B)), r"expected one step, \(B, D\)"),
        (lambda: Belief(particles=torch.zeros(2, 3, 4), log_weights=torch.zeros(2)), r"\(B, K\)"),
        (lambda: Belief(particles=torch.zeros(2, 3, 4), log_weights=torch.zeros(2, 3),
                        memory=torch.zeros(2, 3)), "memory has shape"),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(InputError, match=words):
            call()


@CELLS
def test_only_the_weighted_elbo_teaches_the_score(Cell):
    """Weights never enter the transition."""
    cell, head = Cell(D, H, K, dtype=torch.float64), torch.nn.Linear(H, 1, dtype=torch.float64)
    trajectory, _ = cell.unroll(inputs().double(), generator=generator())
    targets = torch.zeros(B, T, 1, dtype=torch.float64)
    for logs in (None, trajectory.log_weights):
        loss = regression_loss(
            targets, head(trajectory.particles), targets, sigma=0.3, log_weights=logs
        )
        (gradient,) = torch.autograd.grad(
            loss.elbo, cell.score.weight, retain_graph=True, allow_unused=True
        )
        assert (gradient is not None and bool((gradient[0, :H] != 0).any())) == (logs is not None)


@CELLS
def test_sorted_packed_sequences_unroll_as_padded_ones(Cell):
    cell = Cell(D, H, K).eval()
    lengths = torch.tensor([6, 4, 3, 1])
    packed = pack_padded_sequence(inputs(), lengths, batch_first=True)
    assert packed.unsorted_indices is None
    trajectory, final = cell.unroll(packed, generator=generator())
    expected, ends = cell.unroll(inputs(), lengths=lengths, generator=generator())
    torch.testing.assert_close(trajectory.particles, expected.particles)
    equal(final, ends)


@CELLS
def test_inputs_that_are_no_numbers_reach_the_loss(Cell):
    """They must not stop the filter itself: whoever trains is told that the loss is not finite."""
    cell, x = Cell(D, H, K), inputs()
    x[1, 2, 0] = math.nan
    means, _ = cell(x, generator=generator())
    assert means[1, 2:].isnan().any()


@CELLS
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alpha": 1.5}, "alpha is 1.5; expected"),
        ({"resampling": "often"}, "resampling is 'often'"),
        ({"scheme": "none"}, "scheme is 'none'"),
        ({"num_particles": 0}, "num_particles is 0"),
        ({"detach_every": 0}, "detach_every is 0"),
    ],
)
def test_settings_changed_later_are_checked(Cell, changes, words):
    cell = Cell(D, H, K)
    for name, value in changes.items():
        setattr(cell, name, value)
    with pytest.raises(InputError, match=words):
        cell(inputs())


@CELLS
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x",), "x is a str; expected a tensor"),
        ((inputs().numpy(),), "x is a ndarray; expected a tensor"),
        ((inputs().double(),), "x has type torch.float64 and the network torch.float32"),
        ((inputs(), (torch.zeros(B, H), torch.zeros(B, H))), "the belief is a tuple; expected"),
    ],
)
def test_what_is_no_sequence_or_no_belief(Cell, arguments, words):
    with pytest.raises(InputError, match=words):
        Cell(D, H, K)(*arguments)
