"""A classifier of sentences from Transformers through the whole job, on batches of tokens."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import transformers as hf
from torch import nn

import prunella
from prunella.core.errors import ConfigWarning
from prunella.pipeline import repairing

CLASSES = 3
WHOLE = ("bert.pooler", "*attention*")  # the config has no numbers of their own for these
RECIPE = prunella.Recipe(epochs=1, learning_rate=0.01)


def classifier():
    torch.manual_seed(0)
    config = hf.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        vocab_size=60, max_position_embeddings=32, num_labels=CLASSES,
    )  # fmt: skip
    return hf.BertForSequenceClassification(config).eval()


class OfOneTensor(nn.Module):
    """The classifier without dictionaries: tokens and mask are one tensor (N, 2, length)."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, x):
        return self.bert(input_ids=x[:, 0], attention_mask=x[:, 1]).logits


def sentences(count, seed, *, length=10):
    """Padded sentences of random tokens; whether the first token is large is the label."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 60, (count, length), generator=generator)
    ends = torch.randint(4, length + 1, (count, 1), generator=generator)
    mask = (torch.arange(length) < ends).long()
    return {"input_ids": tokens * mask, "attention_mask": mask, "labels": tokens[:, 0] // 20}


def batches(samples, size=32):
    count = len(samples["labels"])
    return [{k: v[i : i + size] for k, v in samples.items()} for i in range(0, count, size)]


def as_one_tensor(batch):
    return torch.stack([batch["input_ids"], batch["attention_mask"]], 1), batch["labels"]


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        model = classifier()
    # Hidden states: what a loss of its own would be computed from never appears.
    recipe = prunella.Recipe(epochs=8, learning_rate=0.1)
    records = prunella.fit(model, batches(sentences(256, 0)), recipe, seed=0)
    assert records[-1].loss < records[0].loss
    return model.eval()


def pruned(model, prepare, prefix="", **options):
    return prunella.prune(
        model,
        [prepare(batch) for batch in batches(sentences(64, 0))],
        budget=prunella.Params(0.7),
        certification=[prepare(batch) for batch in batches(sentences(200, 1))],
        recipe=RECIPE,
        exclude=[f"{prefix}{name}" for name in WHOLE],
        equal_layers=True,
        **options,
    )


def test_dictionaries_give_what_one_tensor_gives(model, tmp_path):
    result = pruned(model, dict, latency_batches=(2,))
    other = pruned(OfOneTensor(copy.deepcopy(model)), as_one_tensor, "bert.")
    assert {f"bert.{name}" for name in result.plan.kept} == set(other.plan.kept)
    for name, kept in result.plan.kept.items():
        assert torch.equal(kept, other.plan.kept[f"bert.{name}"])
    first, second = result.model.state_dict(), other.model.bert.state_dict()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert result.accuracy == other.accuracy
    assert result.accuracy.samples == 200
    assert result.certificate.disagreement_upper == other.certificate.disagreement_upper
    assert result.certificate.accuracy_drop_upper == other.certificate.accuracy_drop_upper
    assert result.cost[1].params <= 0.7 * result.cost[0].params
    assert result.latency[0].batch == 2

    widths = [len(kept) for name, kept in result.plan.kept.items() if "intermediate" in name]
    assert widths == [result.model.config.intermediate_size] * 2

    prunella.save(tmp_path / "small.safetensors", result.model, result.plan)
    loaded = prunella.load(tmp_path / "small.safetensors", classifier()).eval()
    batch = sentences(4, 2)
    del batch["labels"]
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, result.model.eval()(**batch).logits)
    assert result.report(tmp_path / "report.html").exists()


def test_unequal_layers_are_the_default(model):
    budget, loader = prunella.Params(0.7), batches(sentences(64, 0))
    recipe = prunella.Recipe(epochs=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigWarning)
        result = prunella.prune(model, loader, budget=budget, recipe=recipe, exclude=WHOLE)
    assert not any(group.balance for group in result.plan.graph.prunable)


def test_channels_that_norms_mix(model, tmp_path):
    loader = batches(sentences(64, 0))
    recipe = prunella.Recipe(epochs=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigWarning)
        result = prunella.prune(
            model, loader, budget=prunella.Params(0.5), recipe=recipe, through_norms=True
        )
    stream = result.plan.graph.group("bert.embeddings.word_embeddings")
    assert stream.prunable
    assert not stream.exact
    width = len(result.plan.kept[stream.name])
    assert width < 32
    assert result.model.bert.embeddings.word_embeddings.weight.shape == (60, width)
    page = result.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "In that comparison bert.embeddings.word_embeddings stayed whole" in page


def test_batches_padded_to_lengths_of_their_own(model, monkeypatch):
    long, short = sentences(96, 3, length=10), sentences(32, 4, length=7)
    loader = [*batches(short), *batches(long)]
    found, _ = repairing._first_inputs(model, model, (), loader)
    assert torch.equal(found.kwargs["input_ids"], long["input_ids"])
    assert "labels" not in found.kwargs
    with monkeypatch.context() as patched:
        patched.setattr(repairing, "_LEAST", 20)
        few, _ = repairing._first_inputs(model, model, (), loader)
    assert torch.equal(few.kwargs["input_ids"], short["input_ids"][:20])

    held_out = [*batches(sentences(96, 5)), *batches(sentences(96, 6, length=6))]
    result = prunella.prune(
        model,
        loader,
        budget=prunella.Params(0.7),
        certification=held_out,
        recipe=RECIPE,
        equal_layers=True,
        exclude=WHOLE,
    )
    assert result.plan.samples.count == 128
    assert result.certificate.n == 192
    assert len(result.training) == 1


def test_language_models_are_pruned_without_accuracy_and_certificate():
    config = hf.Qwen2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, vocab_size=60, max_position_embeddings=32, bos_token_id=0,
        eos_token_id=1, use_cache=False,
    )  # fmt: skip
    model = hf.Qwen2ForCausalLM(config).eval()
    samples = sentences(64, 0)
    samples["labels"] = samples["input_ids"]
    result = prunella.prune(
        model,
        batches(samples),
        budget=prunella.Params(0.8),
        recipe=prunella.Recipe(epochs=2, learning_rate=0.05),
        equal_layers=True,
    )
    assert result.cost[1].params <= 0.8 * result.cost[0].params
    assert result.model.config.intermediate_size < 48
    assert result.training[1].loss < result.training[0].loss
    assert result.certificate is None
    assert result.accuracy.original is None


@pytest.mark.parametrize("file_format", ["onnx", "pt2"])
def test_export_of_keyword_arguments(model, file_format, tmp_path):
    batch = sentences(6, 0)
    del batch["labels"]
    check = prunella.export(model, batch, tmp_path / f"model.{file_format}")
    assert check.agrees
    assert check.batches == (1, 3, 6)
    same = prunella.export(
        model, (), tmp_path / f"same.{file_format}", keywords=dict(reversed(batch.items()))
    )
    assert (same.bytes, same.agrees) == (check.bytes, True)
