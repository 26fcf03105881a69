"""The certificate end to end on small networks, and every error it may raise."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from prunella.bounds import (
    clopper_pearson_upper,
    paired_difference_upper,
    tolerance_limit,
)
from prunella.certificate import bounds_from_outcomes, certify
from prunella.core.errors import DataError, InputError
from prunella.core.samples import SampleIds


def networks(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    original = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4))
    small = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4))
    small.load_state_dict(original.state_dict())
    with torch.no_grad():
        small[0].weight[0] = 0
    return original, small


def batches(n: int = 200, size: int = 64, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 6, generator=generator)
    labels = torch.randint(4, (n,), generator=generator)
    return [(inputs[i : i + size], labels[i : i + size]) for i in range(0, n, size)]


class Constant(nn.Module):
    def __init__(self, output) -> None:
        super().__init__()
        self.output = output

    def forward(self, inputs):
        return self.output(inputs) if callable(self.output) else self.output


def test_numbers_agree_with_a_direct_computation() -> None:
    original, small = networks()
    data = batches()
    inputs = torch.cat([x for x, _ in data])
    labels = torch.cat([y for _, y in data])
    original.train()
    certificate = certify(original, small, data, alpha=0.1, delta=0.05)
    assert all(module.training for module in original.modules())
    original.eval(), small.eval()
    with torch.no_grad():
        a, b = original(inputs).double(), small(inputs).double()
    top_a, top_b = a.argmax(1), b.argmax(1)
    differ = int((top_a != top_b).sum())
    assert 0 < differ < 200
    plus = int(((top_a == labels) & (top_b != labels)).sum())
    minus = int(((top_b == labels) & (top_a != labels)).sum())
    errors = ((a - b).norm(dim=1) / a.norm(dim=1)).numpy()
    assert certificate.n == 200
    assert (certificate.alpha, certificate.delta) == (0.1, 0.05)
    assert certificate.disagreement == differ / 200
    assert certificate.disagreement_upper == clopper_pearson_upper(differ, 200, 0.05)
    assert certificate.accuracy_drop == (plus - minus) / 200
    assert certificate.accuracy_drop_upper == paired_difference_upper(plus, minus, 200, 0.05)
    # batches of another size may round a product of matrices differently in the last digit
    expected = tolerance_limit(errors, 0.1, 0.05)
    assert certificate.logit_error_bound == pytest.approx(expected, rel=1e-5)
    assert certificate.samples_digest == SampleIds.of(inputs).digest


def test_identical_networks_and_inputs_without_labels() -> None:
    original, _ = networks()
    data = [x for x, _ in batches()]
    certificate = certify(original, original, iter(data))
    assert certificate.disagreement == 0
    assert certificate.disagreement_upper == clopper_pearson_upper(0, 200, 0.01)
    assert certificate.accuracy_drop is None
    assert certificate.accuracy_drop_upper is None
    assert certificate.logit_error_bound == 0
    assert certificate.original_digest == certificate.small_digest
    assert any("all 2 together" in text for text in certificate.assumptions)


def test_batch_size_and_order_do_not_matter_and_the_input_is_untouched() -> None:
    original, small = networks()
    before = {name: value.clone() for name, value in original.state_dict().items()}
    rng_state = torch.get_rng_state()
    one = certify(original, small, batches(size=200))
    two = certify(original, small, batches(size=50)[::-1])
    assert torch.equal(rng_state, torch.get_rng_state())
    assert one.disagreement_upper == two.disagreement_upper
    assert one.accuracy_drop_upper == two.accuracy_drop_upper
    assert one.samples_digest == two.samples_digest
    assert all(torch.equal(before[k], v) for k, v in original.state_dict().items())


def test_too_few_samples_for_the_outputs_still_bounds_the_rest() -> None:
    original, small = networks()
    certificate = certify(original, small, batches(n=50))
    assert certificate.logit_error_bound is None
    assert certificate.disagreement_upper < 1


def test_zero_outputs_of_the_original_make_the_relative_error_infinite() -> None:
    zero = Constant(lambda x: torch.zeros(len(x), 3))
    one = Constant(lambda x: torch.ones(len(x), 3))
    data = [x for x, _ in batches()]
    assert certify(zero, one, data).logit_error_bound == math.inf
    assert certify(zero, zero, data).logit_error_bound == 0
    assert certify(one, zero, data).logit_error_bound == 1


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e30, 1e200])
def test_relative_error_does_not_overflow(size: float) -> None:
    one = Constant(lambda x: torch.full((len(x), 3), size, dtype=torch.float64))
    two = Constant(lambda x: torch.full((len(x), 3), 1.5 * size, dtype=torch.float64))
    certificate = certify(one, two, [x for x, _ in batches()])
    assert certificate.logit_error_bound == pytest.approx(0.5, rel=1e-12)


def test_used_samples_that_do_not_come_again_are_fine_and_counted() -> None:
    original, small = networks()
    used = SampleIds.of(torch.cat([x for x, _ in batches(seed=9)]))
    certificate = certify(original, small, batches(), used=[used, SampleIds.none()])
    assert any("none of the 200 samples" in text for text in certificate.assumptions)
    unchecked = certify(original, small, batches())
    assert any("not checked" in text for text in unchecked.assumptions)
    assert any("shift" in text for text in unchecked.assumptions)


def test_progress_is_told_the_number_of_batches() -> None:
    calls = []

    def progress(items, *, description, total=None):
        calls.append((description, total))
        yield from items

    certify(*networks(), batches(), progress=progress)
    assert calls == [("Certifying", 4)]


def test_empty_batches_are_skipped_and_half_precision_outputs_are_read() -> None:
    original, small = networks()
    data = [(torch.empty(0, 6), torch.empty(0, dtype=torch.int64)), *batches()]
    assert certify(original, small, data).n == 200
    half = Constant(lambda x: original(x).bfloat16())
    assert 0 < certify(original, half, data).logit_error_bound < 0.01


@pytest.mark.parametrize("name", ["alpha", "delta"])
@pytest.mark.parametrize("value", [0, 1, -0.2, math.nan])
def test_levels_must_be_probabilities(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} is .*strictly between 0 and 1"):
        certify(*networks(), batches(), **{name: value})


def test_empty_loader() -> None:
    with pytest.raises(DataError, match="yields no samples; expected at least one"):
        certify(*networks(), [])


def test_labels_out_of_range_or_not_everywhere() -> None:
    data = batches()
    wrong = [(x, y + 1) for x, y in data]
    with pytest.raises(DataError, match="labels run from 1 to 4, but the network has 4 outputs"):
        certify(*networks(), wrong)
    with pytest.raises(DataError, match="only 64 of the 200 certification samples have labels"):
        certify(*networks(), [data[0], *(x for x, _ in data[1:])])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", ["original", "small"])
def test_outputs_that_are_not_finite(bad: float, which: str) -> None:
    good, _ = networks()
    data = batches()
    poison = data[1][0][5]

    def output(inputs):
        rows = torch.zeros(len(inputs), 4)
        rows[(inputs == poison).all(dim=1), 2] = bad
        return rows

    pair = (Constant(output), good) if which == "original" else (good, Constant(output))
    with pytest.raises(DataError, match=f"the {which} network returns NaN or inf.*sample 69 "):
        certify(*pair, data)


def test_repeated_samples_are_counted() -> None:
    data = batches()
    inputs, labels = data[0]
    doubled = (torch.cat([inputs, inputs[:3]]), torch.cat([labels, labels[:3]]))
    with pytest.raises(DataError, match="3 of the 203 certification samples repeat another"):
        certify(*networks(), [doubled, *data[1:]])
    with pytest.raises(DataError, match="8 of the 208 certification samples repeat another"):
        certify(*networks(), [*data, data[3]])


def test_used_samples_are_counted() -> None:
    data = batches()
    used = SampleIds.of(data[2][0][:10]), SampleIds.of(data[0][0][:7])
    with pytest.raises(DataError, match="17 of the 200 certification samples were already used"):
        certify(*networks(), data, used=used)


def test_outputs_of_another_shape() -> None:
    good, _ = networks()
    flat = Constant(lambda x: torch.zeros(len(x)))
    with pytest.raises(DataError, match=r"small network returns shape \(64,\) for 64 samples"):
        certify(good, flat, batches())
    rows = Constant(lambda x: torch.zeros(3, 4))
    with pytest.raises(DataError, match=r"original network returns shape \(3, 4\)"):
        certify(rows, good, batches())
    wide = Constant(lambda x: torch.zeros(len(x), 5))
    with pytest.raises(DataError, match="small network returns 5 classes where 4"):
        certify(good, wide, batches())
    pair = Constant(lambda x: (None, torch.zeros(len(x), 4)))
    with pytest.raises(InputError, match="original network returns tuple that begins with None"):
        certify(pair, good, batches())


def test_flags_are_restored_after_an_error() -> None:
    good, small = networks()
    good.train(), small.eval()
    with pytest.raises(DataError):
        certify(good, small, [(torch.randn(2, 6), torch.tensor([0, 9]))])
    assert good.training
    assert not small.training


def test_outcomes_must_agree_in_length() -> None:
    one, two = np.zeros(3, dtype=np.int64), np.zeros(2, dtype=np.int64)
    with pytest.raises(InputError, match="expected one entry for each sample"):
        bounds_from_outcomes(one, two, None, np.zeros(3), alpha=0.1, delta=0.1)
    with pytest.raises(InputError, match="at least one sample"):
        bounds_from_outcomes(one[:0], one[:0], None, np.zeros(0), alpha=0.1, delta=0.1)


def test_json_of_a_real_certificate_is_strict_json() -> None:
    text = certify(*networks(), batches()).to_json()
    assert json.loads(text, parse_constant=pytest.fail)["n"] == 200
