"""The training loop: determinism, resumption, distillation, errors, and what it leaves alone."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import prunella
from prunella.core.errors import DataError, InputError
from prunella.files.stages import StageFiles
from prunella.retrain import Recipe, fit

RECIPE = Recipe(epochs=3, learning_rate=0.05, label_smoothing=0.1)


def cnn(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(4, 4, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        )


def data(count=24):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 3
    inputs = torch.randn(count, 1, 6, 6, generator=generator) + labels[:, None, None, None]
    return TensorDataset(inputs, labels)


def loader(*, own_generator=False, batch=8):
    generator = torch.Generator().manual_seed(99) if own_generator else None
    return DataLoader(data(), batch_size=batch, shuffle=True, generator=generator)


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    assert list(a) == list(b)
    return all(torch.equal(a[name], b[name]) for name in a)


# -- determinism ---------------------------------------------------------------------------------


@pytest.mark.parametrize("own_generator", [False, True])
def test_weights_depend_on_the_seed_alone(own_generator):
    results = []
    for noise, seed in ((1, 5), (2, 5), (1, 6)):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        model = cnn()
        recipe = RECIPE.model_copy(update={"shift": 1, "flip": True})
        records = fit(model, loader(own_generator=own_generator), recipe, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        results.append((state(model), records))
    assert same(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert not same(results[0][0], results[2][0])


@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_resumed_run_gives_the_same_bits(own_generator, epoch, momentum, tmp_path):
    recipe = RECIPE.model_copy(update={"momentum": momentum, "shift": 1})
    stages, kept = StageFiles(tmp_path), {}

    def on_epoch(checkpoint):
        kept[checkpoint.epoch] = checkpoint
        if checkpoint.epoch == epoch:
            stages.save_training(checkpoint)

    whole = cnn()
    records = fit(whole, loader(own_generator=own_generator), recipe, seed=5, on_epoch=on_epoch)
    assert list(kept) == [1, 2, 3]
    for checkpoint in (kept[epoch], stages.load_training()):
        resumed = cnn(seed=7)  # other weights, which the checkpoint replaces
        torch.manual_seed(epoch)
        again = fit(resumed, loader(own_generator=own_generator), recipe, seed=5, resume=checkpoint)
        assert same(state(resumed), state(whole))
        assert again == records


def test_checkpoint_is_a_copy():
    kept = []
    model = cnn()
    fit(model, loader(), RECIPE, seed=0, on_epoch=kept.append)
    assert not same(kept[0].model, kept[1].model)
    assert same(kept[2].model, state(model))
    assert kept[0].records == kept[2].records[:1]


def test_checkpoint_of_a_longer_run_is_refused():
    kept = []
    fit(cnn(), loader(), RECIPE, seed=0, on_epoch=kept.append)
    shorter = RECIPE.model_copy(update={"epochs": 2})
    with pytest.raises(InputError, match="checkpoint is from epoch 3 but the recipe has 2"):
        fit(cnn(), loader(), shorter, seed=0, resume=kept[-1])


def test_nothing_left_to_learn_still_checks_the_checkpoint():
    kept = []
    fit(cnn(), loader(), RECIPE, seed=0, on_epoch=kept.append)
    with pytest.raises(InputError, match="checkpoint is from epoch 3 but the recipe has 0"):
        fit(cnn(), loader(), Recipe(epochs=0), seed=0, resume=kept[-1])


def test_labels_that_nothing_looks_at_cannot_be_smoothed():
    with pytest.raises(InputError, match=r"label_smoothing 0\.1, which only the cross entropy"):
        fit(cnn(), loader(), RECIPE, seed=0, teacher=cnn(1))


# -- learning ------------------------------------------------------------------------------------


def test_loss_falls_and_accuracy_rises():
    model = cnn()
    recipe = Recipe(epochs=12, learning_rate=0.1)
    records = fit(model, loader(), recipe, seed=0)
    assert [record.epoch for record in records] == list(range(1, 13))
    assert records[-1].loss < 0.6 * records[0].loss
    assert records[-1].accuracy > max(0.7, records[0].accuracy)
    rates = [record.learning_rate for record in records]
    assert max(rates) <= 0.1 * (1 + 1e-9)
    assert rates[-1] < 1e-5 < rates[0] < max(rates)
    assert rates.index(max(rates)) in (1, 2)  # after a fifth of the steps


def test_step_follows_the_definition_of_nesterov_momentum():
    """One epoch of one batch, against the formulas."""
    model = nn.Linear(3, 2)
    w0, b0 = (p.detach().clone() for p in model.parameters())
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
    recipe = Recipe(epochs=1, learning_rate=0.25, momentum=0.5, weight_decay=0.1, warmup=0.9)
    fit(model, [(x, y)], recipe, seed=0)
    w, b = w0.clone().requires_grad_(), b0.clone().requires_grad_()
    nn.functional.cross_entropy(x @ w.T + b, y).backward()
    rate = 0.25 / 25  # where the cycle begins
    for found, start, gradient in ((model.weight, w0, w.grad), (model.bias, b0, b.grad)):
        decayed = gradient + 0.1 * start
        torch.testing.assert_close(found.detach(), start - rate * (decayed + 0.5 * decayed))


@pytest.mark.parametrize("warmup", [0.2, 0.5])
@pytest.mark.parametrize(("epochs", "batches"), [(1, 1), (4, 1), (2, 2), (1, 4), (1, 3)])
def test_any_number_of_steps(epochs, batches, warmup):
    model = nn.Linear(3, 2)
    before = state(model)
    given = [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1])) for _ in range(batches)]
    records = fit(model, given, Recipe(epochs=epochs, warmup=warmup), seed=0)
    assert len(records) == epochs
    assert not same(before, state(model))


def test_zero_epochs_leave_everything_alone():
    model = cnn()
    before = state(model)
    assert fit(model, [], RECIPE.model_copy(update={"epochs": 0}), seed=0) == ()
    assert same(before, state(model))


def test_teacher_needs_no_labels_and_is_not_changed():
    teacher, student = cnn(seed=1), cnn(seed=2)
    teacher.train()
    before = state(teacher)
    inputs = data().tensors[0]
    blank = DataLoader(TensorDataset(inputs), batch_size=8, shuffle=True)

    def distance():
        with torch.no_grad():
            return float((student.eval()(inputs) - copy.deepcopy(teacher).eval()(inputs)).norm())

    far = distance()
    records = fit(student, blank, Recipe(epochs=15, learning_rate=0.1), seed=0, teacher=teacher)
    assert distance() < 0.7 * far
    assert records[-1].accuracy != records[-1].accuracy  # unknown
    assert records[-1].loss < records[0].loss
    assert same(before, state(teacher))
    assert teacher.training
    assert all(p.grad is None for p in teacher.parameters())
    # Labels that are there change nothing but the accuracy.
    labelled, other = cnn(seed=2), cnn(seed=2)
    plain = [(x, y) for x, y in DataLoader(data(), batch_size=8)]
    recipe = RECIPE.model_copy(update={"label_smoothing": 0.0})
    fit(labelled, plain, recipe, seed=0, teacher=teacher)
    fit(other, [x for x, _ in plain], recipe, seed=0, teacher=teacher)
    assert same(state(labelled), state(other))


# -- errors --------------------------------------------------------------------------------------


def test_labels_are_checked():
    x = torch.randn(4, 3)
    for labels, message in (
        (torch.tensor([0, 1, 2, 0]), "labels run from 0 to 2, but the network has 2 outputs"),
        (torch.tensor([0, -1, 1, 0]), "labels run from -1 to 1"),
        (torch.rand(4), "labels are torch.float32; expected integers from 0 to 1"),
        (torch.tensor([[0], [1], [1], [0]]), r"4 inputs with labels of shape \(4, 1\)"),
    ):
        with pytest.raises(DataError, match=message):
            fit(nn.Linear(3, 2), [(x, labels)], RECIPE, seed=0)
    with pytest.raises(DataError, match="training needs labels"):
        fit(nn.Linear(3, 2), [x], RECIPE, seed=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_of_any_integer_type(dtype):
    model = nn.Linear(3, 2)
    fit(model, [(torch.ones(2, 3), torch.tensor([0, 1], dtype=dtype))], RECIPE, seed=0)
    other = nn.Linear(3, 2)
    assert not same(state(model), state(other))


def test_loss_that_is_no_number():
    model = nn.Linear(3, 2)
    bad = torch.randn(4, 3)
    bad[1, 1] = float("nan")
    with pytest.raises(DataError, match=r"training loss became nan; lower the learning rate \("):
        fit(model, [(bad, torch.tensor([0, 1, 0, 1]))], RECIPE, seed=0)
    assert bool(torch.isfinite(model.weight).all())  # the step was not taken


@pytest.mark.parametrize("empty", [[], iter([]), itertools.count()])
def test_empty_or_endless_loader(empty):
    with pytest.raises(DataError, match="training loader is empty or does not know its length"):
        fit(nn.Linear(3, 2), empty, RECIPE, seed=0)


def test_batch_of_one_sample_with_batch_norm_is_named():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    given = [(torch.randn(n, 3), torch.zeros(n, dtype=torch.long)) for n in (4, 1)]
    with pytest.raises(DataError, match=r"holds one sample only.*drop_last=True"):
        fit(model, given, RECIPE, seed=0)


# -- leaving the model as it was found -----------------------------------------------------------


def test_flags_and_layout_are_restored():
    model = cnn()
    model.eval()
    model[1].train()
    flags = [m.training for m in model.modules()]
    fit(model, loader(), RECIPE, seed=0)
    assert [m.training for m in model.modules()] == flags
    assert all(p.is_contiguous() for p in model.parameters())


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError])
def test_interruption_inside_an_epoch(error):
    model = cnn()
    model.eval()
    flags = [m.training for m in model.modules()]
    before = torch.get_rng_state()
    layouts = []

    def stops(items, *, description, total=None):
        for number, item in enumerate(items):
            if number == 2:
                layouts.append(model[4].weight.is_contiguous())
                raise error("stop")
            yield item

    with pytest.raises(error, match="stop"):
        fit(model, loader(), RECIPE, seed=0, progress=stops)
    assert layouts == [False]  # another layout is used while it runs
    assert [m.training for m in model.modules()] == flags
    assert all(p.is_contiguous() for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)


def test_layout_of_the_user_stays():
    model = cnn().to(memory_format=torch.channels_last)
    fit(model, loader(), RECIPE, seed=0)
    assert model[4].weight.is_contiguous(memory_format=torch.channels_last)
    assert not model[4].weight.is_contiguous()


def test_frozen_parameters_stay():
    model = cnn()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    fit(model, loader(), RECIPE, seed=0)
    assert torch.equal(model[0].weight, before)
    assert not model[0].weight.requires_grad


def test_progress_is_told_of_every_batch():
    told = []

    def progress(items, *, description, total=None):
        told.append((description, total, 0))
        for item in items:
            told[-1] = (description, total, told[-1][2] + 1)
            yield item

    fit(cnn(), loader(), RECIPE, seed=0, progress=progress)
    assert told == [(f"epoch {n}/3", 3, 3) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"learning_rate": 0},
        {"momentum": 1},
        {"weight_decay": -1e-9},
        {"warmup": 0},
        {"warmup": 1},
        {"shift": -1},
        {"unknown": 1},
    ],
)
def test_recipe_is_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_recipe_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        RECIPE.epochs = 7
    assert prunella.Recipe is Recipe
