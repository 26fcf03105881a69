"""Re-estimation of batch-norm statistics after a cut."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from prunella.core.batches import split_batch
from prunella.core.modes import training_flags_restored
from prunella.core.progress import Progress, silent


def reestimate_batchnorm(
    model: nn.Module,
    loader: Iterable[object],
    *,
    progress: Progress = silent,
) -> None:
    """Replace running means and variances by averages over the loader's batches, in place.

    Does nothing for a model without batch norm. Dropout is left off: only batch-norm layers run in
    training mode.
    """
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return
    device = next(model.parameters()).device
    with training_flags_restored(model):
        model.eval()
        adapter = _OnlyBatchNormTrains(model)
        batches = progress(loader, description="batch-norm statistics")
        update_bn(_inputs(batches), adapter, device=device)


class _OnlyBatchNormTrains(nn.Module):
    """`update_bn` puts the whole model into training mode; this lets it reach batch norm alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def train(self, mode: bool = True) -> _OnlyBatchNormTrains:
        self.training = mode
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                module.train(mode)
        return self

    def forward(self, inputs: Tensor) -> object:
        return self.model(inputs)


def _inputs(batches: Iterable[object]) -> Iterable[Tensor]:
    for batch in batches:
        yield split_batch(batch).inputs
