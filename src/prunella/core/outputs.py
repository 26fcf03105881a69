"""What a model may return, and how its logits are read."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from prunella.core.errors import InputError


def logits_of(outputs: object, *, whose: str = "the network") -> Tensor:
    """The logits in what a model returns.

    That is a tensor; an object or a mapping with `logits`, such as the outputs of Hugging Face
    models; or a tuple or list whose first entry is the tensor of logits.

    Args:
        outputs: Of one call.
        whose: Names the network in the message.

    Raises:
        InputError: the outputs are none of these.
    """
    if isinstance(outputs, Tensor):
        return outputs
    found = getattr(outputs, "logits", None)
    if found is None and isinstance(outputs, Mapping):
        found = outputs.get("logits")
    if found is None and isinstance(outputs, (tuple, list)) and outputs:
        found = outputs[0]
    if isinstance(found, Tensor):
        return found
    raise InputError(
        f"{whose} returns {_words(outputs)}; expected logits: a tensor, an object or a dictionary "
        "with 'logits', or a tuple that begins with them. Wrap the network so that it returns one "
        "of these."
    )


def class_scores(
    outputs: object, samples: int, *, whose: str = "the network"
) -> Tensor:  # (samples, classes)
    """Logits as one row of class scores for each sample.

    Raises:
        InputError: see `logits_of`; or the logits have another shape.
    """
    logits = logits_of(outputs, whose=whose)
    if logits.ndim != 2 or len(logits) != samples or not logits.shape[1]:
        raise InputError(
            f"{whose} returns logits of shape {tuple(logits.shape)} for {samples} samples; "
            f"expected ({samples}, classes), one row of class scores for each sample."
        )
    return logits


def _words(outputs: object) -> str:
    kind = type(outputs).__name__
    if isinstance(outputs, Mapping):
        return f"{kind} with {', '.join(map(str, outputs)) or 'no entries'}"
    if isinstance(outputs, (tuple, list)):
        return (
            f"{kind} that begins with {type(outputs[0]).__name__}" if outputs else f"empty {kind}"
        )
    return kind
