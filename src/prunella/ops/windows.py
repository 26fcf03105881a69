"""What the entries of a convolution's kernel see."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from prunella.ops.contractions import Contraction


def windows(
    inputs: Tensor,  # (N, C, *spatial)
    call: Contraction,
) -> Tensor:
    """The inputs under the kernel at each output position, as a view where possible.

    Returns:
        (N, C, *output positions, *kernel).
    """
    pads = [amount for pad in reversed(call.padding) for amount in (pad, pad)]
    seen = F.pad(inputs, pads) if any(pads) else inputs
    for axis, (kernel, gap, step) in enumerate(
        zip(call.weight.shape[2:], call.dilation, call.stride, strict=True)
    ):
        # A dilated kernel spans gap * (kernel - 1) + 1 positions and looks at every gap-th.
        seen = seen.unfold(2 + axis, gap * (kernel - 1) + 1, step)[..., ::gap]
    return seen
