"""The smallest network within a tolerance, on a problem that is learnt in a second."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import prunella
from prunella.bounds import clopper_pearson_upper, paired_difference_upper
from prunella.core.certified import Choice
from prunella.core.errors import BudgetError, DataError, GraphError, InputError
from prunella.core.levels import confidence, level
from prunella.core.types import Cost
from prunella.core.walks import SHARES, Step
from prunella.pipeline import candidates as candidates_of
from prunella.pipeline import shrink
from prunella.pipeline.judging import Answers, Judge, samples_to_pass
from prunella.pipeline.reporting import RunFacts, build_report
from prunella.pipeline.walking import lowest_promising, sequences, walk
from prunella.report import from_json, render, to_json

CLASSES = 4
COST = Cost(params=1, macs=1, bytes=4)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, CLASSES),
    )


def samples(count, seed):
    """Noisy images with a bright corner; the corner is the label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    images = 0.7 * torch.randn(count, 1, 6, 6, generator=generator)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3] += 1
    return TensorDataset(images, labels)


def loader(dataset, *, shuffle=False, batch_size=100):
    generator = torch.Generator().manual_seed(8) if shuffle else None
    return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, generator=generator)


@pytest.fixture(scope="module")
def trained():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = network()
    prunella.fit(
        model,
        loader(samples(256, 0), batch_size=32),
        prunella.Recipe(epochs=6, learning_rate=0.1),
        seed=0,
    )
    return model.eval()


@pytest.fixture(scope="module")
def sets():
    return {
        "calibration": samples(160, 0),
        "certification": samples(1500, 1),
        "fresh": samples(20_000, 2),
        "selection": samples(1500, 3),
    }


@pytest.fixture(scope="module")
def result(trained, sets):
    return prunella.smallest(
        trained, loader(sets["calibration"]), loader(sets["certification"]), alpha="4%", seed=3
    )


def tops(model, dataset):
    with torch.no_grad():
        return model.eval()(dataset.tensors[0]).argmax(1)


def counted(trained, small, dataset):
    labels = dataset.tensors[1]
    right, small_right = tops(trained, dataset) == labels, tops(small, dataset) == labels
    return int((right & ~small_right).sum()), int((small_right & ~right).sum())


def same(a, b):
    first, second = a.state_dict(), b.state_dict()
    return list(first) == list(second) and all(torch.equal(first[n], second[n]) for n in first)


# -- what it finds -------------------------------------------------------------------------------


def test_the_walk_ends_at_the_first_that_fails(result):
    walk = result.walk
    *passed, failed = walk.steps
    assert passed
    assert all(step.passed and step.upper <= 0.04 for step in passed)
    assert not failed.passed
    assert failed.upper > 0.04
    shares = [step.share for step in walk.steps]
    assert shares == list(walk.shares[: len(shares)])
    assert list(walk.shares) == sorted(walk.shares, reverse=True)
    assert set(walk.shares) <= set(SHARES)
    assert walk.chosen == passed[-1].share
    assert (walk.alpha, walk.delta, walk.samples, walk.start) == (0.04, 0.01, 1500, 0)
    assert {step.delta for step in walk.steps} == {0.01}
    costs = [step.cost.params for step in walk.steps]
    assert costs == sorted(set(costs), reverse=True)


def test_the_network_is_the_last_that_passed(result, trained, sets):
    walk = result.walk
    step = walk.steps[-2]
    assert result.plan.requested == prunella.Params(walk.chosen)
    assert result.cost[1] == result.plan.achieved == step.cost
    assert result.cost[1] == prunella.cost(result.model, torch.zeros(1, 1, 6, 6))
    assert result.cost[1].params <= walk.chosen * result.cost[0].params
    plus, minus = counted(trained, result.model, sets["certification"])
    assert step.observed == (plus - minus) / 1500
    assert step.upper == paired_difference_upper(plus, minus, 1500, 0.01)
    accuracy = result.accuracy
    assert accuracy.samples == 1500
    assert prunella.accuracy(trained, loader(sets["certification"]))[0] == accuracy.original
    found = prunella.accuracy(result.model, loader(sets["certification"]))[0]
    assert (accuracy.after_repair, accuracy.after_retrain) == (found, None)
    assert accuracy.after_cut < accuracy.after_repair


def test_it_is_the_network_that_prune_makes(result, trained, sets):
    pruned = prunella.prune(
        trained,
        loader(sets["calibration"]),
        budget=prunella.Params(result.walk.chosen),
        recipe=prunella.Recipe(epochs=0),
        seed=3,
    )
    assert same(pruned.model, result.model)


def test_on_fresh_samples_the_claim_holds(result, trained, sets):
    plus, minus = counted(trained, result.model, sets["fresh"])
    assert (plus - minus) / 20_000 <= 0.04


def test_the_certificate_says_no_more_than_the_walk_shows(result, trained, sets):
    certificate = result.certificate
    count = len(result.walk.shares)
    assert certificate.accuracy_drop_upper == 0.04  # the level, not the bound of these samples
    assert certificate.accuracy_drop == result.walk.steps[-2].observed
    different = int(
        (tops(trained, sets["certification"]) != tops(result.model, sets["certification"])).sum()
    )
    # The others hold for all candidates at once.
    assert certificate.disagreement_upper == clopper_pearson_upper(different, 1500, 0.01 / count)
    assert certificate.delta == 0.01
    plain = prunella.certify(
        trained, result.model, loader(sets["certification"]), delta=0.01 / count
    )
    assert certificate.logit_error_bound == plain.logit_error_bound
    words = " ".join(certificate.assumptions)
    assert f"among {count} candidates that were fixed without them" in words
    assert "falls by at most 4 percentage points with confidence 99 % however many" in words
    assert prunella.Certificate.from_json(certificate.to_json()) == certificate


def test_samples_of_the_choice_cannot_certify_again(result, trained, sets):
    for name in ("calibration", "certification"):
        with pytest.raises(DataError, match="already used to train, calibrate or choose"):
            prunella.certify(trained, result.model, loader(sets[name]), used=(result.plan.samples,))
    prunella.certify(trained, result.model, loader(sets["fresh"]), used=(result.plan.samples,))


def test_disagreement(trained, sets):
    images = list(sets["certification"].tensors[0].split(300))  # no labels
    result = prunella.smallest(
        trained,
        loader(sets["calibration"]),
        images,
        risk="disagreement",
        alpha=0.06,
        delta=0.05,
        unit=prunella.Flops,
        shares=(0.9, 0.6, 0.4, 0.2),
    )
    step = result.walk.chosen_step
    assert result.walk.unit == "multiply-adds"
    assert result.cost[1].macs <= result.walk.chosen * result.cost[0].macs
    different = int((tops(trained, sets["certification"]) != tops(result.model,
                     sets["certification"])).sum())  # fmt: skip
    assert step.upper == clopper_pearson_upper(different, 1500, 0.05) <= 0.06
    assert result.certificate.disagreement_upper == 0.06
    assert result.certificate.accuracy_drop_upper is None
    assert "name different classes for at most 6 % of new samples" in result.walk.claim


def test_the_other_bounds_hold_for_all_candidates(trained, sets):
    """Each is that of `certify` at delta divided by the number of candidates, and says so."""
    result = prunella.smallest(
        trained, loader(sets["calibration"]), loader(sets["certification"]),
        alpha=0.3, shares=(0.9, 0.8), per_class=True, per_layer=True, top_k=2,
    )  # fmt: skip
    expected = prunella.certify(
        trained, result.model, loader(sets["certification"]),
        delta=0.01 / 2, per_class=True, layers=result.plan, top_k=2,
    )  # fmt: skip
    found = result.certificate
    assert (found.delta, found.choice.candidates) == (0.01, 2)
    assert (found.classes, found.layers, found.top_k) == (
        expected.classes, expected.layers, expected.top_k,
    )  # fmt: skip
    assert f"(delta {0.01 / 2 / CLASSES:.2g} for each)" in found.statement
    words = " ".join(found.assumptions)
    assert "all 6 together with at least 94 %" in words
    assert (
        f"The bounds of the {CLASSES} classes count as one: each holds with delta / 2 / " in words
    )
    again = prunella.verify_certificate(
        found.to_json(), trained, result.model, loader(sets["certification"]), layers=result.plan
    )
    assert again.differences == ()


def test_all_candidates_may_pass(trained, sets):
    result = prunella.smallest(
        trained, loader(sets["calibration"]), loader(sets["certification"]),
        alpha=0.3, shares=(0.9, 0.8),
    )  # fmt: skip
    assert [step.passed for step in result.walk.steps] == [True, True]
    assert result.walk.chosen == 0.8


def test_none_passes(trained, sets):
    result = prunella.smallest(
        trained, loader(sets["calibration"]), loader(sets["certification"]),
        alpha=0.004, shares=(0.2, 0.1), latency_batches=(2,),
    )  # fmt: skip
    assert result.walk.chosen is None
    assert [step.passed for step in result.walk.steps] == [False]
    assert same(result.model, trained)
    assert result.model is not trained
    assert result.certificate is None
    assert result.cost[0] == result.cost[1] == result.plan.achieved
    assert result.accuracy.after_repair is None
    report = build_report(result, RunFacts())
    assert report.reached is False
    page = render(report)
    assert "No network could be shown to be one with which the accuracy on new samples" in page
    assert "No candidate passed, so the network is the original" in page


def test_retraining_each_candidate(trained, sets):
    calls = []
    result = prunella.smallest(
        trained, loader(sets["calibration"]), loader(sets["certification"]),
        alpha=0.05, shares=(0.7, 0.5), recipe=prunella.Recipe(epochs=2, learning_rate=0.02),
        retraining=loader(sets["calibration"], shuffle=True), on_stage=calls.append,
    )  # fmt: skip
    assert [record.epoch for record in result.training] == [1, 2]
    assert result.accuracy.after_retrain is not None
    assert any("50 % of the parameters: " in call and "passed" in call for call in calls)


def test_a_candidate_does_not_depend_on_those_made_before(trained, sets):
    """Although the loader shuffles with a generator of its own, which goes on."""
    first, second = (
        prunella.smallest(
            trained, loader(sets["calibration"]), loader(sets["certification"]),
            alpha=0.3, shares=shares, recipe=prunella.Recipe(epochs=1, learning_rate=0.02),
            retraining=loader(sets["calibration"], shuffle=True, batch_size=20),
        )
        for shares in ((0.7, 0.5), (0.5,))
    )  # fmt: skip
    assert first.walk.chosen == second.walk.chosen == 0.5
    assert same(first.model, second.model)


# -- the start -----------------------------------------------------------------------------------


def test_a_start_from_selection_samples(result, trained, sets, monkeypatch):
    made = []
    monkeypatch.setattr(
        candidates_of.Candidates,
        "_make",
        lambda self, plan, before=candidates_of.Candidates._make: (
            made.append(plan.requested.fraction) or before(self, plan)
        ),
    )
    started = prunella.smallest(
        trained, loader(sets["calibration"]), loader(sets["certification"]), alpha="4%",
        selection=loader(sets["selection"]), retraining=loader(sets["calibration"]), seed=3,
    )  # fmt: skip
    walk = started.walk
    assert walk.start > 0
    assert walk.steps[0].share == walk.shares[walk.start]
    assert all(step.delta == pytest.approx(0.009) for step in walk.steps)
    assert len(made) == len(set(made))  # none twice, though some are asked for twice
    assert len(made) < len(result.walk.steps)
    place = result.walk.shares.index
    assert abs(place(walk.chosen) - place(result.walk.chosen)) <= 1
    with pytest.raises(DataError, match="already used to train, calibrate or choose"):
        prunella.certify(
            trained, started.model, loader(sets["selection"]), used=(started.plan.samples,)
        )


def test_too_few_selection_samples_make_no_candidate(trained, sets):
    stages = []
    result = prunella.smallest(
        trained, loader(sets["calibration"]), loader(sets["certification"]), alpha=0.05,
        shares=(0.9, 0.7, 0.5), selection=loader(samples(50, 5)), on_stage=stages.append,
    )  # fmt: skip
    assert result.walk.start == 0
    assert {step.delta for step in result.walk.steps} == {0.01}  # nothing was spent on a start
    assert not any("start" in stage for stage in stages)


def test_selection_must_not_certify(trained, sets):
    with pytest.raises(DataError, match="1500 of 1500 certification samples are also used"):
        prunella.smallest(
            trained, loader(sets["calibration"]), loader(sets["certification"]), alpha=0.05,
            selection=loader(sets["certification"]),
        )  # fmt: skip


# -- the order -----------------------------------------------------------------------------------


def scripted(verdicts, start, delta=0.01):
    """Places in the order of their tests, with what each may spend."""
    asked = []

    def test(place, spent):
        asked.append((place, spent))
        return Step(
            share=0.9 - 0.1 * place, cost=COST, observed=0, upper=0, delta=spent,
            passed=verdicts[place],
        )  # fmt: skip

    steps = walk(len(verdicts), start, delta, test)
    assert len(steps) == len(asked)
    return asked


def test_nothing_but_the_first_failure_decides():
    assert [p for p, _ in scripted([True, True, False, True], 0)] == [0, 1, 2]
    assert scripted([False, True, True, True], 0) == [(0, 0.01)]
    # From a start it never goes up if the start passes, whatever comes after.
    assert scripted([True, True, True, False], 2) == [
        (2, pytest.approx(0.009)),
        (3, pytest.approx(0.009)),
    ]
    # If the start fails, from the top with what was kept for that, and never past it.
    down = scripted([True, True, False, True], 2)
    assert [p for p, _ in down] == [2, 0, 1]
    assert [spent for _, spent in down] == [
        pytest.approx(0.009),
        pytest.approx(0.001),
        pytest.approx(0.001),
    ]


@pytest.mark.parametrize("start", range(5))
def test_delta_is_spent_once(start):
    parts = sequences(5, start, 0.02)
    assert sum(spent for spent, _ in parts) == pytest.approx(0.02)
    assert sorted(place for _, places in parts for place in places) == list(range(5))
    assert all(list(places) == sorted(places) for _, places in parts)


def test_bisection_finds_the_last_promising_one():
    for last in range(40):
        asked = []

        def promising(place, last=last, asked=asked):
            asked.append(place)
            return place <= last

        assert lowest_promising(40, promising) == last
        assert len(asked) <= 6
    assert lowest_promising(1, lambda _: pytest.fail("there is nothing to choose")) == 0


@pytest.mark.parametrize(
    "shares", [(), (0.5, 0.6), (0.6, 0.6), (1.0, 0.5), (0.5, 0.0), ("0.5",), (float("nan"),)]
)
def test_the_order_cannot_be_changed(trained, sets, shares):
    with pytest.raises(InputError, match="expected numbers from large to small, each once"):
        prunella.smallest(
            trained, loader(sets["calibration"]), loader(sets["certification"]), shares=shares
        )


def test_candidates_never_see_certification_samples(trained, sets, monkeypatch):
    """Whatever the samples say, the same candidates are made of the same plans."""
    seen = []
    monkeypatch.setattr(
        shrink, "walk", lambda count, start, delta, test, *, progress: [test(0, delta)]
    )
    for certification in (sets["certification"], samples(1500, 7)):
        result = prunella.smallest(
            trained, loader(sets["calibration"]), loader(certification),
            alpha=0.2, shares=(0.6, 0.4),
        )  # fmt: skip
        seen.append(result)
    first, second = seen
    assert same(first.model, second.model)
    assert first.walk.steps[0].cost == second.walk.steps[0].cost


# -- judging -------------------------------------------------------------------------------------


def test_a_judge_pairs_answers_whatever_the_order(trained, sets):
    torch.manual_seed(5)
    small = network().eval()
    plus, minus = counted(trained, small, sets["certification"])
    runs = []
    handle = trained.register_forward_hook(lambda *_: runs.append(1))
    try:
        for shuffle, batch_size in ((False, 100), (True, 100), (True, 1500)):
            judge = Judge(
                trained,
                loader(sets["certification"], shuffle=shuffle, batch_size=batch_size),
                "accuracy_drop",
            )
            runs.clear()
            for _ in range(3):
                assert judge(small) == Answers(n=1500, plus=plus, minus=minus)
            # The original runs again only where the batches are others.
            assert len(runs) == (3 if shuffle else 1) * 1500 // batch_size
    finally:
        handle.remove()
    assert not trained.training


def test_fewer_samples_are_rounded_against_the_small_network():
    answers = Answers(n=1000, plus=33, minus=17)
    assert answers.at_most(2000) is answers
    assert answers.at_most(100) == Answers(n=100, plus=4, minus=1)


@pytest.mark.parametrize("risk", ["accuracy_drop", "disagreement"])
@pytest.mark.parametrize("alpha", [0.3, 0.05, 0.005])
def test_samples_to_pass_is_the_smallest_number(risk, alpha):
    n = samples_to_pass(risk, alpha, 0.01)
    assert Answers(n=n, plus=0).upper(risk, 0.01) <= alpha
    assert Answers(n=n - 1, plus=0).upper(risk, 0.01) > alpha


# -- mistakes ------------------------------------------------------------------------------------


def refused(trained, sets, error, words, **changed):
    """Said before anything is traced."""
    stages = []
    given = {
        "calibration": loader(sets["calibration"]),
        "certification": loader(sets["certification"]),
    } | changed
    with pytest.raises(error, match=words):
        prunella.smallest(trained, on_stage=stages.append, **given)
    assert stages == []


def test_mistakes_are_told_before_any_work(trained, sets):
    few = loader(samples(200, 1))
    words = (
        r"200 certification samples cannot show a drop of accuracy of at most 0.5 % with 99 % "
        r"confidence, even for networks that never differ: that takes at least 1,133, and more"
    )
    refused(trained, sets, DataError, words, certification=few)
    words = "share of other answers of at most 2 % .* at least 228, and more"
    refused(trained, sets, DataError, words, certification=few, risk="disagreement", alpha=0.02)
    # So few selection samples cannot start it lower, so that nothing is spent on that.
    words = "with 99 % confidence.* at least 1,133"
    refused(trained, sets, DataError, words, certification=few, selection=loader(samples(50, 5)))
    refused(trained, sets, InputError, "the risk is 'drop'; expected one of accuracy_", risk="drop")
    refused(trained, sets, InputError, "delta is 1.5; expected", delta=1.5)
    refused(trained, sets, InputError, "alpha is '0.5', which is 50 % as a share", alpha="0.5")
    refused(trained, sets, InputError, "the unit is .*Latency", unit=prunella.Latency)
    images = list(sets["certification"].tensors[0].split(300))
    words = "the certification samples have no labels, which the drop of accuracy needs"
    refused(trained, sets, DataError, words, certification=images)
    refused(trained, sets, DataError, "the selection samples have no labels", selection=images)
    refused(trained, sets, DataError, "selection is an iterator", selection=iter(images))
    refused(trained, sets, DataError, "calibration loader is empty", calibration=[])


def test_overlap_is_refused_before_a_candidate_is_made(trained, sets):
    stages = []
    leaked = TensorDataset(*(t[:7] for t in sets["certification"].tensors))
    calibration = torch.utils.data.ConcatDataset([sets["calibration"], leaked])
    with pytest.raises(DataError, match="7 of 1500 certification samples are also used"):
        prunella.smallest(
            trained, loader(calibration), loader(sets["certification"]), on_stage=stages.append
        )
    assert not any("candidates" in stage for stage in stages)


def test_what_cannot_be_reached(trained, sets):
    arguments = (trained, loader(sets["calibration"]), loader(sets["certification"]))
    with pytest.raises(BudgetError, match="smallest reachable is"):
        prunella.smallest(*arguments, shares=(0.001,))
    found = prunella.smallest(*arguments, shares=(0.8, 0.7, 0.001), alpha=0.3)
    assert found.walk.shares == (0.8, 0.7)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    with pytest.raises(GraphError, match="no group of channels"):
        prunella.smallest(flat, *arguments[1:])


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("0.5%", 0.005),
        (" 0.5 %", 0.005),
        ("0.005", 0.005),
        (0.005, 0.005),
        (0.5, 0.5),
        ("50%", 0.5),
    ],
)
def test_levels(given, found):
    assert level("it", given) == found


@pytest.mark.parametrize(
    "given", ["0%", "100%", "-1%", "many", "", "nan", "inf%", 0, 1, None, True]
)
def test_no_levels(given):
    with pytest.raises(InputError, match=r"it is .*; expected a share above 0 and below 1"):
        level("it", given)


def test_confidences():
    assert confidence("it", "99%") == confidence("it", "0.99") == confidence("it", 0.99) == 0.99
    for given in ("99", "100%", "1%", 0.01, "sure"):
        with pytest.raises(InputError, match="expected at least 50% and less than 100%"):
            confidence("it", given)


# -- the report ----------------------------------------------------------------------------------


def test_the_report_shows_the_walk(result, tmp_path):
    page = result.report(tmp_path / "report.html").read_text(encoding="utf-8")
    for words in (
        "How small can it be?",
        f"keeps at most {100 * result.walk.chosen:.1f}\u00a0% of the parameters",
        "the accuracy on new samples falls by at most 4 percentage points with 99\u00a0% conf",
        '"figure-walk":{',
        "passed, chosen",
        "✓ budget met",
    ):
        assert words in page, words
    report = build_report(result, RunFacts())
    assert report.requested.startswith("the fewest parameters with which the accuracy on new")
    text = to_json(report)
    assert from_json(text) == dataclasses.replace(report, training={})
    assert render(from_json(text)) == render(report)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 1.5}, {"risk": "other"}, {"samples": 0}, {"start": 99}, {"chosen": 0.123},
        {"shares": ()},
    ],
)  # fmt: skip
def test_impossible_walks_are_refused(result, change):
    report = build_report(result, RunFacts())
    damaged = dataclasses.replace(report, walk=dataclasses.replace(report.walk, **change))
    with pytest.raises(prunella.FileError, match=r"report.walk: \d+ tests of \d+ candidates"):
        from_json(to_json(damaged))


# -- the certificate of a choice, computed again ---------------------------------------------------


def verified(result, trained, dataset, **changes):
    text = replace(result.certificate, **changes).to_json()
    return prunella.verify_certificate(text, trained, result.model, loader(dataset))


def test_the_certificate_of_a_choice_can_be_computed_again(result, trained, sets):
    found = verified(result, trained, sets["certification"])
    assert found.matches, found.differences
    assert found.certificate.choice == Choice(
        risk="accuracy_drop", candidates=len(result.walk.shares)
    )
    assert found.certificate.accuracy_drop_upper == 0.04


def test_a_level_that_the_network_did_not_pass_is_found(result, trained, sets):
    own = result.walk.chosen_step.upper
    found = verified(result, trained, sets["certification"], accuracy_drop_upper=own - 1e-4)
    named = {difference.field: difference.found for difference in found.differences}
    assert named["accuracy_drop_upper"] == pytest.approx(own, abs=1e-9)


def test_fewer_candidates_than_there_were_or_another_risk_are_found(result, trained, sets):
    other = Choice(risk="accuracy_drop", candidates=1)
    fewer = verified(result, trained, sets["certification"], choice=other)
    assert "disagreement_upper" in {difference.field for difference in fewer.differences}
    other = Choice(risk="disagreement", candidates=len(result.walk.shares))
    risk = verified(result, trained, sets["certification"], choice=other)
    assert "accuracy_drop_upper" in {difference.field for difference in risk.differences}
    none = verified(result, trained, sets["certification"], choice=None)
    assert {"accuracy_drop_upper", "disagreement_upper"} <= {d.field for d in none.differences}
