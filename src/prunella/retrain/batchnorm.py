"""Re-estimation of batch-norm statistics after a cut."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from prunella.core.batches import read_batch
from prunella.core.errors import DataError
from prunella.core.inputs import Inputs
from prunella.core.modes import training_flags_restored
from prunella.core.progress import Progress, length, silent


def reestimate_batchnorm(
    model: nn.Module,
    loader: Iterable[object],
    *,
    progress: Progress = silent,
) -> None:
    """Replace running means and variances by averages over the loader's batches, in place.

    Does nothing for a model without batch norm. Dropout is left off: only batch-norm layers run in
    training mode.

    Args:
        model: Returns anything.
        loader: Yields inputs, with or without labels, in any form that `read_batch` knows.
        progress: Reports batches.

    Raises:
        DataError: there are no samples; the statistics are left as they were.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        return
    device = next(model.parameters()).device
    before = [(layer, layer.momentum, copy.deepcopy(layer.state_dict())) for layer in layers]
    adapter = _OnlyBatchNormTrains(model)
    batches = progress(loader, description="batch-norm statistics", total=length(loader))
    done = False
    with training_flags_restored(model):
        model.eval()
        try:
            update_bn((inputs.to(device) for inputs in _inputs(batches)), adapter)
            done = adapter.batches > 0
        finally:
            for layer, momentum, state in before:
                layer.momentum = momentum
                if not done:
                    layer.load_state_dict(state)
    if not done:
        raise DataError(
            "there are no samples to estimate batch-norm statistics from: the loader is empty, or "
            "can be read only once and has been; expected a loader that gives samples every time."
        )


class _OnlyBatchNormTrains(nn.Module):
    """`update_bn` puts the whole model into training mode; this lets it reach batch norm alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.batches = 0

    def train(self, mode: bool = True) -> _OnlyBatchNormTrains:
        self.training = mode
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                module.train(mode)
        return self

    def forward(self, inputs: Inputs) -> object:
        self.batches += 1
        return inputs.call(self.model)


def _inputs(batches: Iterable[object]) -> Iterator[Inputs]:
    """Inputs of each batch; one sample, which has no variance, joins a batch of its form after it.

    It is left out where none comes, unless there is no other.
    """
    alone: Inputs | None = None
    first = True
    for batch in batches:
        read = read_batch(batch)
        inputs, count = read.inputs, len(read)
        if count and alone is not None and alone.form == inputs.form:
            inputs, count = Inputs.together([alone, inputs]), count + 1
            alone = None
        if count == 1:
            alone = inputs
        elif count:
            first = False
            yield inputs
    if alone is not None and first:
        yield alone
