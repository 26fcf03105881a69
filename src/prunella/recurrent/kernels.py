"""The transitions of PF-LSTM and PF-GRU: two autograd functions with backward passes of their own.

Plain autograd keeps the result of every operation and passes over it again. Here each step only
keeps nine (PF-LSTM) or six (PF-GRU) tensors (B * K, H), works in place on what it owns, and takes
the matrix product of the states without ever tiling the input. Equations:
docs/theory/particle-filter-rnn.md, section 2; tests hold forward and backward against plain torch
and against finite differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten
NormKind = Literal["feature", "slot", "none"]
Activation = Literal["leaky_relu", "relu", "tanh"]
SLOPE = 0.01
ALL_NEW = 1.0  # momentum with which a batch norm leaves nothing of the statistics before


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """How the candidates of one step are normalised; weight and bias come as tensors of their own.

    Attributes:
        per_slot: Statistics for each particle slot over (B, H), not for each feature over (B, K).
        mean: (H,) or (K,) to normalise with. With `batch_statistics` that of the step is written
            into it.
        variance: The same for the variance (the step's: unbiased, while it is normalised with the
            biased one, as ever in batch norm).
        batch_statistics: Normalise with the statistics of the step, whatever mean and variance say.
        eps: Added to the variance.
        numbers: How many are normalised in each channel.
    """

    per_slot: bool
    mean: Tensor  # (H,) or (K,)
    variance: Tensor  # (H,) or (K,)
    batch_statistics: bool
    eps: float
    numbers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a transition computes with, apart from tensors that take gradients."""

    activation: Activation
    norm: Norm | None
    product_dtype: torch.dtype  # of the matrix products; all else is in the dtype of the states


def setting_of(weight: Tensor, activation: Activation, norm: Norm | None) -> Setting:
    """The setting of a network with such weights, under autocast if that is on."""
    kind, dtype = weight.device.type, weight.dtype
    if dtype != torch.float64 and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    return Setting(activation=activation, norm=norm, product_dtype=dtype)


def product(
    left: Tensor,  # (N, I)
    right: Tensor,  # (I, O)
    dtype: torch.dtype,
) -> Tensor:  # (N, O), in the dtype of left
    """Matrix product in `dtype`."""
    if left.dtype == dtype and right.dtype == dtype:
        return torch.mm(left, right)
    return torch.mm(left.to(dtype), right.to(dtype)).to(left.dtype)


def _gates(
    states: Tensor,  # (B * K, H)
    weight: Tensor,  # (G, H)
    inputs: Tensor,  # (B, G)
    dtype: torch.dtype,
) -> Tensor:  # (B * K, G)
    """weight @ state + the input's part, which all particles of a sequence share."""
    gates = product(states, weight.t(), dtype)
    gates.view(inputs.shape[0], -1, inputs.shape[1]).add_(inputs.unsqueeze(1))
    return gates


def _noisy(
    mean: Tensor,  # (N, H)
    spread: Tensor,  # (N, H)
    noise: Tensor | None,  # (N, H)
) -> tuple[Tensor, Tensor | None]:  # (N, H), (N, H)
    """mean + softplus(spread) * noise, and its derivative by the spread."""
    if noise is None:
        return mean.clone(memory_format=torch.contiguous_format), None
    away = torch.sigmoid(-spread)
    # softplus(s) = -log sigmoid(-s), one logarithm of what the derivative needs anyway; where
    # sigmoid underflows, softplus(s) is s.
    deviation = away.clamp(min=torch.finfo(away.dtype).tiny).log_().neg_()
    torch.maximum(deviation, spread, out=deviation)
    slope = away.neg_().add_(1).mul_(noise)
    return torch.addcmul(mean, deviation, noise), slope


def _normalise(
    values: Tensor,  # (N, H)
    weight: Tensor | None,
    bias: Tensor | None,
    norm: Norm | None,
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Batch norm, and what its backward pass needs: statistics of the step, or the running ones."""
    if norm is None:
        return values.clone(), None
    shaped = values.unflatten(0, (-1, norm.mean.numel())) if norm.per_slot else values
    out, mean, scale = torch.native_batch_norm(
        shaped, weight, bias, norm.mean, norm.variance, norm.batch_statistics, ALL_NEW, norm.eps,
    )  # fmt: skip
    if norm.batch_statistics:
        return out.view_as(values), (mean, scale)
    return out.view_as(values), (norm.mean, norm.variance)


def _normalise_backward(
    grad: Tensor,  # (N, H)
    values: Tensor,  # (N, H)
    weight: Tensor | None,
    statistics: tuple[Tensor, Tensor] | None,
    norm: Norm | None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients by the values, the weight and the bias."""
    if norm is None or statistics is None:
        return grad, None, None
    slots = norm.mean.numel()
    shape = (-1, slots, values.shape[1]) if norm.per_slot else tuple(values.shape)
    own = norm.batch_statistics
    out, for_weight, for_bias = aten.native_batch_norm_backward(
        grad.view(shape), values.view(shape), weight,
        None if own else statistics[0], None if own else statistics[1],
        statistics[0] if own else None, statistics[1] if own else None,
        own, norm.eps, [True, True, True],
    )  # fmt: skip
    return out.view_as(values), for_weight, for_bias


def _activate_(values: Tensor, activation: Activation) -> Tensor:
    """The activation, in place."""
    if activation == "tanh":
        return values.tanh_()
    return torch.nn.functional.leaky_relu_(values, SLOPE if activation == "leaky_relu" else 0.0)


def _activate_backward(grad: Tensor, result: Tensor, activation: Activation) -> Tensor:
    if activation == "tanh":
        return torch.as_tensor(aten.tanh_backward(grad, result))
    if activation == "relu":
        return torch.as_tensor(aten.threshold_backward(grad, result, 0))
    return torch.as_tensor(aten.leaky_relu_backward(grad, result, SLOPE, True))


def _tanh(values: Tensor) -> Tensor:
    # Faster than tanh, and the same to a rounding of 1.
    return torch.sigmoid(2 * values).mul_(2).sub_(1)


def _sigmoid_backward_(grad: Tensor, result: Tensor, out: Tensor) -> None:
    aten.sigmoid_backward.grad_input(grad, result, grad_input=out)


class LSTMTransition(torch.autograd.Function):
    """States and memory of the next step from those of this one, before reweighting."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,  # (B * K, H)
        memory: Tensor,  # (B * K, H)
        weight: Tensor,  # (5H, H)
        inputs: Tensor,  # (B, 5H): forget, input, output, candidate mean, candidate spread
        norm_weight: Tensor | None,
        norm_bias: Tensor | None,
        noise: Tensor | None,  # (B * K, H)
        setting: Setting,
    ) -> tuple[Tensor, Tensor]:
        """c' = sigmoid(f) c + sigmoid(i) g, h' = sigmoid(o) tanh(c')."""
        size, dtype = 3 * states.shape[1], setting.product_dtype
        gates = _gates(states, weight[:size], inputs[:, :size], dtype).sigmoid_()
        forget, entry, out = gates.chunk(3, 1)
        # Apart, because nothing of these two is kept.
        mean, spread = _gates(states, weight[size:], inputs[:, size:], dtype).chunk(2, 1)
        drawn, slope = _noisy(mean, spread, noise)
        normed, statistics = _normalise(drawn, norm_weight, norm_bias, setting.norm)
        candidate = _activate_(normed, setting.activation)
        new_memory = (forget * memory).addcmul_(entry, candidate)
        squashed = _tanh(new_memory)
        ctx.setting, ctx.statistics, ctx.batch = setting, statistics, inputs.shape[0]
        ctx.save_for_backward(
            states, memory, weight, norm_weight, gates, drawn, slope, candidate, squashed
        )
        return out * squashed, new_memory

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_states: Tensor, for_memory: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients in the order of the arguments of `forward`."""
        states, memory, weight, norm_weight, gates, drawn, slope, candidate, squashed = (
            ctx.saved_tensors
        )
        size = states.shape[1]
        forget, entry, out = gates.split(size, 1)
        grads = gates.new_empty(len(gates), 5 * size)
        of_forget, of_entry, of_out, of_mean, of_spread = grads.split(size, 1)

        _sigmoid_backward_(for_states * squashed, out, of_out)
        through = aten.tanh_backward(for_states * out, squashed).add_(for_memory)
        _sigmoid_backward_(through * memory, forget, of_forget)
        _sigmoid_backward_(through * candidate, entry, of_entry)
        raw = _activate_backward(through * entry, candidate, ctx.setting.activation)
        inner, for_norm_weight, for_norm_bias = _normalise_backward(
            raw, drawn, norm_weight, ctx.statistics, ctx.setting.norm
        )
        of_mean.copy_(inner)
        if slope is None:
            of_spread.zero_()
        else:
            of_spread.copy_(inner).mul_(slope)  # `out=` of a view does not compile
        dtype = ctx.setting.product_dtype
        return (
            product(grads, weight, dtype) if ctx.needs_input_grad[0] else None,
            through.mul_(forget),
            product(grads.t(), states, dtype).to(weight.dtype),
            grads.view(ctx.batch, -1, 5 * size).sum(1),
            for_norm_weight,
            for_norm_bias,
            None,
            None,
        )


class GRUTransition(torch.autograd.Function):
    """States of the next step from those of this one, before reweighting."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,  # (B * K, H)
        gate_weight: Tensor,  # (2H, H)
        candidate_weight: Tensor,  # (2H, H)
        inputs: Tensor,  # (B, 4H): keep, reset, candidate mean, candidate spread
        norm_weight: Tensor | None,
        norm_bias: Tensor | None,
        noise: Tensor | None,  # (B * K, H)
        setting: Setting,
    ) -> Tensor:
        """h' = (1 - z) n + z h, with n made from the input and r * h."""
        size, dtype = states.shape[1], setting.product_dtype
        gates = _gates(states, gate_weight, inputs[:, : 2 * size], dtype).sigmoid_()
        keep, reset = gates.split(size, 1)
        pair = _gates(reset * states, candidate_weight, inputs[:, 2 * size :], dtype)
        mean, spread = pair.split(size, 1)
        drawn, slope = _noisy(mean, spread, noise)
        normed, statistics = _normalise(drawn, norm_weight, norm_bias, setting.norm)
        candidate = _activate_(normed, setting.activation)
        ctx.setting, ctx.statistics, ctx.batch = setting, statistics, inputs.shape[0]
        ctx.save_for_backward(
            states, gate_weight, candidate_weight, norm_weight, gates, drawn, slope, candidate
        )
        return torch.lerp(candidate, states, keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_states: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients in the order of the arguments of `forward`."""
        states, gate_weight, candidate_weight, norm_weight, gates, drawn, slope, candidate = (
            ctx.saved_tensors
        )
        size, dtype = states.shape[1], ctx.setting.product_dtype
        keep, reset = gates.split(size, 1)
        grads = torch.empty_like(gates)
        of_keep, of_reset = grads.split(size, 1)

        _sigmoid_backward_(for_states * (states - candidate), keep, of_keep)
        kept = for_states * keep
        raw = _activate_backward(for_states - kept, candidate, ctx.setting.activation)
        inner, for_norm_weight, for_norm_bias = _normalise_backward(
            raw, drawn, norm_weight, ctx.statistics, ctx.setting.norm
        )
        spread = torch.zeros_like(inner) if slope is None else inner * slope
        pair = torch.cat((inner, spread), 1)
        of_product = product(pair, candidate_weight, dtype)
        _sigmoid_backward_(of_product * states, reset, of_reset)
        for_old = kept.addcmul_(of_product, reset)
        inputs = torch.cat((grads.view(ctx.batch, -1, 2 * size).sum(1),
                            pair.view(ctx.batch, -1, 2 * size).sum(1)), 1)  # fmt: skip
        return (
            for_old.add_(product(grads, gate_weight, dtype)) if ctx.needs_input_grad[0] else None,
            product(grads.t(), states, dtype).to(gate_weight.dtype),
            product(pair.t(), reset * states, dtype).to(candidate_weight.dtype),
            inputs,
            for_norm_weight,
            for_norm_bias,
            None,
            None,
        )
