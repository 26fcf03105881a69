"""Other objectives, optimisers, a clipped gradient, and the validation that keeps the best."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from prunella.core.errors import DataError, InputError
from prunella.files.stages import StageFiles
from prunella.retrain import (
    Assessment,
    Classification,
    EpochRecord,
    Recipe,
    Validation,
    best_epoch,
    fit,
)

KINDS = ["sgd", "rmsprop", "adam"]


class Noisy(nn.Module):
    """Draws as a particle filter does: in every forward pass, also while evaluating."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh())
        self.last = nn.Linear(8, 1)

    def forward(self, x):
        return self.last(self.inner(x + 0.1 * torch.randn_like(x)))


def squares(model, batch):
    error = (batch.inputs.call(model) - batch.given_labels).square()
    return Assessment(
        loss=error.mean(),
        figures={"mse": (float(error.detach().sum()), error.numel()), "none": (0.0, 0)},
    )


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Noisy()


def data(count=24, seed=1):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 3, generator=generator)
    return TensorDataset(inputs, inputs.sum(1, keepdim=True))


def loader():
    return DataLoader(data(), batch_size=8, shuffle=True)


def held_out(figure="mse", **more):
    return Validation(loader=DataLoader(data(12, seed=2), batch_size=5), figure=figure, **more)


def recipe(kind="sgd", **more):
    return Recipe(epochs=4, learning_rate=0.05, optimizer=kind, **more)


def same(a, b):
    assert list(a) == list(b)
    return all(torch.equal(a[name], b[name]) for name in a)


# -- objectives ----------------------------------------------------------------------------------


def test_the_default_objective_is_classification_with_the_recipes_smoothing():
    x, y = torch.randn(16, 3), torch.arange(16) % 2
    given = [(x[:8], y[:8]), (x[8:], y[8:])]
    results = []
    for objective, smoothing in (
        (None, 0.2),
        (Classification(label_smoothing=0.2), 0.0),
        (Classification(), 0.0),
    ):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Linear(3, 2)
        settings = Recipe(epochs=2, label_smoothing=smoothing)
        records = fit(model, given, settings, seed=0, objective=objective)
        results.append((model.state_dict(), records))
    assert same(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert not same(results[0][0], results[2][0])


def test_figures_are_means_over_all_terms_of_the_epoch():
    """Batches of different sizes; a rate too small to change anything."""
    model = nn.Linear(3, 1).eval()
    dataset = data(11)
    settings = Recipe(epochs=1, learning_rate=1e-30, schedule="constant", weight_decay=0)
    batches = DataLoader(dataset, batch_size=4)
    (record,) = fit(
        model, batches, settings, seed=0, objective=squares, validation=held_out("loss")
    )
    inputs, targets = dataset.tensors
    expected = float((model(inputs) - targets).square().mean().detach())
    assert record.figures["mse"] == pytest.approx(expected, rel=1e-5)
    assert record.loss == pytest.approx(expected, rel=1e-5)
    assert "none" not in record.figures  # nothing was counted
    assert math.isnan(record.accuracy)
    inputs, targets = data(12, seed=2).tensors
    expected = float((model(inputs) - targets).square().mean().detach())
    assert record.held_out == pytest.approx({"loss": expected, "mse": expected}, rel=1e-5)
    assert record.to_json() == {
        "epoch": 1,
        "loss": record.loss,
        "accuracy": None,
        "learning_rate": 1e-30,
        "figures": record.figures,
        "held_out": record.held_out,
    }


def test_a_record_without_figures_is_written_as_before():
    record = EpochRecord(epoch=2, loss=0.5, accuracy=0.25, learning_rate=0.1)
    assert record.to_json() == {"epoch": 2, "loss": 0.5, "accuracy": 0.25, "learning_rate": 0.1}


def test_teacher_and_objective_exclude_each_other():
    with pytest.raises(InputError, match="got a teacher and an objective; give one"):
        fit(net(), loader(), recipe(), seed=0, teacher=net(), objective=squares)


# -- optimisers ----------------------------------------------------------------------------------


def reference(model, kind, settings, steps, given):
    """Plain PyTorch, by the formulas of its documentation."""
    first = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    second = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    for step in range(1, steps + 1):
        x, y = given[(step - 1) % len(given)]
        model.zero_grad()
        (model(x) - y).square().mean().backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
        norm = torch.cat([g.flatten() for g in gradients.values()]).norm()
        shrink = min(1.0, float(settings.clip / (norm + 1e-6))) if settings.clip else 1.0
        with torch.no_grad():
            for n, p in model.named_parameters():
                g = gradients[n] * shrink + settings.weight_decay * p
                if kind == "rmsprop":
                    second[n] = 0.99 * second[n] + 0.01 * g * g
                    p -= settings.learning_rate * g / (second[n].sqrt() + 1e-8)
                elif kind == "adam":
                    first[n] = 0.9 * first[n] + 0.1 * g
                    second[n] = 0.999 * second[n] + 0.001 * g * g
                    mean, square = first[n] / (1 - 0.9**step), second[n] / (1 - 0.999**step)
                    p -= settings.learning_rate * mean / (square.sqrt() + 1e-8)
                else:
                    first[n] = settings.momentum * first[n] + g
                    p -= settings.learning_rate * (g + settings.momentum * first[n])
    return model


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_follow_their_definition(kind, clip):
    given = list(DataLoader(data(), batch_size=8))
    models = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            models.append(nn.Linear(3, 1).double())
    given = [(x.double(), y.double()) for x, y in given]
    settings = Recipe(
        epochs=2,
        learning_rate=0.02,
        optimizer=kind,
        schedule="constant",
        clip=clip,
        weight_decay=0.01,
    )
    records = fit(models[0], given, settings, seed=0, objective=squares)
    reference(models[1], kind, settings, 6, given)
    for mine, yours in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(mine, yours, rtol=1e-9, atol=1e-9)
    assert [record.learning_rate for record in records] == [0.02, 0.02]


def test_a_gradient_that_is_no_number_is_named_before_the_step():
    model = nn.Linear(3, 1)
    before = model.weight.clone()

    def roots(model, batch):
        # The root of 0 has no gradient, though its value is finite.
        return Assessment(loss=(batch.inputs.call(model) * 0).sqrt().mean())

    with pytest.raises(DataError, match="norm of the gradient became nan; lower the learning"):
        fit(model, loader(), recipe(clip=1.0), seed=0, objective=roots)
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("schedule", ["cycle", "constant"])
@pytest.mark.parametrize("kind", KINDS)
def test_resumed_run_gives_the_same_bits(kind, schedule, validated, tmp_path):
    """Also the noise inside of the model, the best state, and what was found on held-out data."""
    settings = recipe(kind, schedule=schedule, clip=1.0)
    more = {"objective": squares, "validation": held_out() if validated else None}
    stages = [StageFiles(tmp_path / str(epoch)) for epoch in range(5)]
    whole = net()
    records = fit(
        whole, loader(), settings, seed=5,
        on_epoch=lambda checkpoint: stages[checkpoint.epoch].save_training(checkpoint), **more,
    )  # fmt: skip
    assert len({record.loss for record in records}) == 4
    for epoch in (1, 2, 4):
        resumed = net(seed=7)
        torch.manual_seed(epoch)
        checkpoint = stages[epoch].load_training()
        again = fit(resumed, loader(), settings, seed=5, resume=checkpoint, **more)
        assert same(resumed.state_dict(), whole.state_dict())
        assert [r.to_json() for r in again] == [r.to_json() for r in records]


def test_a_checkpoint_of_another_optimiser_or_validation_is_refused():
    kept = []
    more = {"objective": squares, "validation": held_out()}
    fit(net(), loader(), recipe("adam"), seed=0, on_epoch=kept.append, **more)
    with pytest.raises(InputError, match=r"holds exp_avg, exp_avg_sq, step .*rmsprop keeps step"):
        fit(net(), loader(), recipe("rmsprop"), seed=0, resume=kept[0], **more)
    for validation, named in ((None, "none"), (held_out("other"), "'other'")):
        with pytest.raises(InputError, match=f"goes by {named}, but epoch 1 of the checkpoint has"):
            fit(
                net(), loader(), recipe("adam"), seed=0, objective=squares, resume=kept[0],
                validation=validation,
            )  # fmt: skip


# -- validation ----------------------------------------------------------------------------------


def test_the_best_epoch_is_the_first_of_equals_and_no_number_is_worst():
    def records(*values):
        return [
            EpochRecord(epoch=i, loss=0, accuracy=0, learning_rate=1, held_out={"a": value})
            for i, value in enumerate(values, 1)
        ]

    assert best_epoch(records(math.nan, 2.0, 1.0, 1.0, 3.0), "a") == 3
    assert best_epoch(records(math.nan, 2.0, 3.0, 1.0, 3.0), "a", largest=True) == 3
    assert best_epoch(records(math.nan, math.nan), "a") == 1


@pytest.mark.parametrize("largest", [False, True])
def test_the_model_is_left_in_its_best_state(largest):
    """Which is not that of the end, here."""
    kept = []
    model = net()
    model.eval()
    validation = held_out(largest=largest)
    records = fit(
        model, loader(), recipe("adam"), seed=5, objective=squares, validation=validation,
        on_epoch=kept.append,
    )  # fmt: skip
    found = [record.held_out["mse"] for record in records]
    best = found.index(max(found) if largest else min(found))
    assert best == (0 if largest else 2)
    assert same(kept[best].model, model.state_dict())
    assert not any(module.training for module in model.modules())
    assert [bool(checkpoint.best) for checkpoint in kept] == [
        found.index((max if largest else min)(found[: i + 1])) < i for i in range(4)
    ]


def test_validation_changes_nothing_but_which_state_is_kept():
    kept = {}
    for validation in (None, held_out()):
        states = kept[validation is None] = []
        fit(
            net(), loader(), recipe(), seed=5, objective=squares, validation=validation,
            on_epoch=states.append,
        )  # fmt: skip
    for plain, validated in zip(kept[True], kept[False], strict=True):
        assert same(plain.model, validated.model)
        assert plain.records[-1].loss == validated.records[-1].loss


def test_validation_compares_epochs_under_the_same_noise():
    """At a rate that changes nothing two epochs must find the same; another seed another."""
    found = []
    for seed in (5, 6):
        settings = Recipe(epochs=2, learning_rate=1e-30, schedule="constant", weight_decay=0)
        model = net()
        model.inner[1].momentum = 0.0
        records = fit(
            model, loader(), settings, seed=seed, objective=squares, validation=held_out()
        )
        found.append([record.held_out["mse"] for record in records])
    assert found[0][0] == found[0][1]
    assert found[0][0] != found[1][0]


def test_validation_of_an_unknown_figure_or_of_nothing():
    with pytest.raises(InputError, match=r"goes by 'rmse', .*; expected one of loss, mse"):
        fit(net(), loader(), recipe(), seed=0, objective=squares, validation=held_out("rmse"))
    with pytest.raises(DataError, match="the validation loader is empty or does not know"):
        fit(net(), loader(), recipe(), seed=0, objective=squares, validation=Validation(loader=[]))
