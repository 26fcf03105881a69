"""What PF-LSTM and PF-GRU have in common: the filter around the cell, and the loop over time."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from prunella.core.errors import InputError
from prunella.recurrent.belief import Belief, Trajectory
from prunella.recurrent.checks import (
    check_belief,
    check_choices,
    check_shares,
    check_sizes,
    check_type,
    require_generator,
)
from prunella.recurrent.draws import Draws, fixed_generator, initial_belief
from prunella.recurrent.filtering import Step, When, observe, trajectory_of
from prunella.recurrent.kernels import Activation, Norm, NormKind
from prunella.recurrent.layers import Factory, feature_map, features, linear, weighted
from prunella.recurrent.norm import NORM_STEPS, normalisers, record, step_norm
from prunella.recurrent.resampling import Scheme, clamp_scores
from prunella.recurrent.sequences import Steps, steps_of


class ParticleFilterRNN(nn.Module, abc.ABC):
    """A recurrent network whose state is a belief; use `PFLSTM` or `PFGRU`.

    Source: Ma, Karkus, Hsu and Lee, "Particle filter recurrent neural networks", AAAI 2020. At each
    step every particle makes a noisy transition, is weighted by a learned score, and the particles
    are resampled; outputs are read from the children. What differs from the public code by default:
    batch norm by feature, and everything about weights in logarithms.

    Attributes that may be changed later: `num_particles` (unless norm is "slot"), `alpha`,
    `resampling`, `ess_threshold`, `scheme`, `eval_noise`, `deterministic`, `detach_every`.

    Args:
        input_size: D.
        hidden_size: H.
        num_particles: K of the initial belief; a belief that is passed in may have another.
        batch_first: Inputs and means are (B, T, ...), otherwise (T, B, ...).
        alpha: Share of the weights in the proposal of resampling, in [0, 1]. 1 is ordinary
            resampling, through which the score learns nothing from later steps or the same one.
        resampling: After every step, "ess": only of beliefs whose effective sample size is below
            `ess_threshold`, or never.
        ess_threshold: As a share of K.
        scheme: How ancestors are drawn.
        score_clamp: Bring scores into [-3, 3] with min(max(s, 0), 6) - 3.
        norm: Batch norm of the candidates by feature over (B, K), by particle slot over (B, H) as
            in the public code, or none. A single number (B = K = 1 while training) has no variance
            and is normalised with the running statistics, which it does not change.
        norm_steps: How many of the first steps have running statistics of their own, for
            evaluation; later ones share the last. 1 pools all steps.
        activation: Of the candidates.
        control_size: Features of the input that enter the gates; None takes the input itself.
        observation_size: Features of the input that enter the score; None takes the input itself.
            A linear score adds them to all particles of a sequence alike, which cancels in the
            weights; they have an effect with `score_clamp` only.
        initial: Initial states (and memory): uniform in [0, 1), or 0.
        eval_noise: Whether candidates are noisy in evaluation too. Resampling and a uniform initial
            belief stay random.
        deterministic: In evaluation, draw everything from a fixed generator (unless one is passed)
            and the same for every sequence of a batch: the result of a sequence is a function of
            that sequence, with the spread of particles that the network was trained with.
        detach_every: Cut the gradient's way back after every so many steps; None never does.
        device: Of the weights.
        dtype: Of the weights.

    Raises:
        InputError: an argument is out of range.
    """

    _gates: int  # parts of the input's projection
    _has_memory: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_particles: int,
        *,
        batch_first: bool = True,
        alpha: float = 0.5,
        resampling: When = "always",
        ess_threshold: float = 0.5,
        scheme: Scheme = "multinomial",
        score_clamp: bool = False,
        norm: NormKind = "feature",
        norm_steps: int = NORM_STEPS,
        activation: Activation = "leaky_relu",
        control_size: int | None = 32,
        observation_size: int | None = 32,
        initial: Literal["uniform", "zeros"] = "uniform",
        eval_noise: bool = True,
        deterministic: bool = False,
        detach_every: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_particles = num_particles
        self.batch_first = batch_first
        self.alpha = alpha
        self.resampling: When = resampling
        self.ess_threshold = ess_threshold
        self.scheme: Scheme = scheme
        self.score_clamp = score_clamp
        self.norm_kind: NormKind = norm
        self.activation: Activation = activation
        self.initial = initial
        self.eval_noise = eval_noise
        self.deterministic = deterministic
        self.detach_every = detach_every
        check_sizes(
            input_size=input_size,
            hidden_size=hidden_size,
            num_particles=num_particles,
            control_size=control_size,
            observation_size=observation_size,
            norm_steps=norm_steps,
        )
        check_choices(norm=norm, activation=activation, initial=initial)
        self._check_settings()
        factory: Factory = {"device": device, "dtype": dtype}
        self.control = feature_map(input_size, control_size, factory)
        self.observation = feature_map(input_size, observation_size, factory)
        self.control_size = control_size or input_size
        self.observation_size = observation_size or input_size
        self.input_gates = linear(self.control_size, self._gates * hidden_size, factory)
        self.score = linear(hidden_size + self.observation_size, 1, factory)
        channels = {"feature": hidden_size, "slot": num_particles, "none": 0}[norm]
        self.norm = step_norm(channels, norm_steps, factory, per_slot=norm == "slot")
        self._build(factory)

    @abc.abstractmethod
    def _build(self, factory: Factory) -> None:
        """Make the weights that act on the states."""

    @abc.abstractmethod
    def _transition(
        self, belief: Belief, inputs: Tensor, noise: Tensor | None, norm: Norm | None
    ) -> Belief:
        """New particles (and memory) of a belief, weights as they were; inputs (B, G)."""

    def _gate_bias(self) -> Tensor | None:  # (G,)
        """A second bias of the gates, as `nn.LSTM` has it."""
        return None

    def extra_repr(self) -> str:
        """Sizes and the choices that matter most."""
        return (
            f"{self.input_size}, {self.hidden_size}, num_particles={self.num_particles}, "
            f"alpha={self.alpha}, resampling={self.resampling!r}, norm={self.norm_kind!r}"
        )

    def initial_belief(
        self, batch_size: int, *, generator: torch.Generator | None = None
    ) -> Belief:  # (B, K, H)
        """The belief before the first step: particles of `initial`, all weights 1/K.

        Args:
            batch_size: B.
            generator: Where uniform particles come from; without one torch's global generator, or
                a fixed one if the run is deterministic.
        """
        return self._initial(batch_size, self._draws(generator))

    @overload
    def forward(
        self,
        x: Tensor,
        belief: Belief | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Belief]: ...
    @overload
    def forward(
        self,
        x: PackedSequence,
        belief: Belief | None = None,
        *,
        lengths: None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[PackedSequence, Belief]: ...
    def forward(
        self,
        x: Tensor | PackedSequence,  # (B, T, D)
        belief: Belief | None = None,  # (B, K, H)
        *,
        lengths: Tensor | Sequence[int] | None = None,  # (B,)
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor | PackedSequence, Belief]:  # (B, T, H), (B, K, H)
        """Mean of the belief after every step, and the belief at each sequence's end.

        Args:
            x: Inputs (B, T, D), (T, B, D) without `batch_first`, or packed.
            belief: Where to begin, (B, K, H); None is `initial_belief`.
            lengths: How many of the T steps of each sequence are real, (B,), from 0 to T. Its
                belief stays as it is after them, and the means there are 0.
            generator: Where noise and resampling come from; without one torch's global generator,
                as for dropout, or a fixed one if the run is deterministic.

        Returns:
            Means in the form of x (packed if x is), in the type of the network's weights; and the
            final belief, whose rows are those of x.

        Raises:
            InputError: sizes do not fit together, lengths are out of range, a setting was changed
                to what it cannot be, or the run is deterministic and goes on from a belief without
                a generator: it would make the same draws again.
        """
        steps, states, final = self._run(x, belief, lengths, generator)
        dtype = self.score.weight.dtype
        means = [state.belief.mean() for state in states]
        if steps.packed is not None:
            return steps.packed._replace(data=torch.cat(means).to(dtype)), final
        out = steps.stacked(means, 0.0, final.particles[:, 0]).to(dtype)
        return (out if self.batch_first else out.transpose(0, 1)), final

    def unroll(
        self,
        x: Tensor | PackedSequence,  # (B, T, D)
        belief: Belief | None = None,  # (B, K, H)
        *,
        lengths: Tensor | Sequence[int] | None = None,  # (B,)
        generator: torch.Generator | None = None,
    ) -> tuple[Trajectory, Belief]:
        """All beliefs of the sequences, and the one at each sequence's end.

        For losses and heads that look at every particle, and for pictures. The same draws as
        `forward` with the same generator. Always laid out (B, T, ...), whatever the form of x;
        takes B T K H numbers more than `forward`. Arguments and Raises: as there.
        """
        steps, states, final = self._run(x, belief, lengths, generator)
        return trajectory_of(steps, states, final), final

    def step(
        self,
        x: Tensor,  # (B, D)
        belief: Belief,  # (B, K, H)
        *,
        generator: torch.Generator | None = None,
    ) -> Belief:  # (B, K, H)
        """The belief after one more input; `belief.mean()` is the output.

        With one generator throughout, steps one by one draw what `forward` draws.

        Raises:
            InputError: as in `forward`; a deterministic run always needs a generator here.
        """
        if x.ndim != 2:
            raise InputError(f"step: x has shape {tuple(x.shape)}; expected one step, (B, D).")
        self._check_settings()
        require_generator("step", generator, needed=self._is_deterministic)
        steps = steps_of(x.unsqueeze(0), None, input_size=self.input_size, batch_first=False)
        belief = self._checked(belief, steps.batch)
        return self._looped(belief, steps, self._draws(generator))[1]

    def _check_settings(self) -> None:
        """What may be changed after the module was made."""
        check_sizes(num_particles=self.num_particles, detach_every=self.detach_every)
        check_choices(resampling=self.resampling, scheme=self.scheme)
        check_shares(alpha=self.alpha, ess_threshold=self.ess_threshold)

    def _checked(self, belief: Belief, batch: int) -> Belief:
        """The belief that a run begins with, in the type of the states."""
        check_belief(
            belief,
            batch=batch,
            hidden_size=self.hidden_size,
            slots=self.num_particles if self.norm_kind == "slot" else None,
            memory=self._has_memory,
        )
        return belief.to(self._state_dtype)

    @property
    def _is_deterministic(self) -> bool:
        return self.deterministic and not self.training

    @property
    def _state_dtype(self) -> torch.dtype:
        return torch.float64 if self.score.weight.dtype == torch.float64 else torch.float32

    def _draws(self, generator: torch.Generator | None) -> Draws:
        fixed = self._is_deterministic
        return Draws(
            generator=fixed_generator() if fixed and generator is None else generator,
            shared=fixed,
            device=self.score.weight.device,
            dtype=self._state_dtype,
        )

    def _initial(self, batch: int, draws: Draws) -> Belief:
        sizes, uniform = (batch, self.num_particles, self.hidden_size), self.initial == "uniform"
        return initial_belief(sizes, draws, uniform=uniform, memory=self._has_memory)

    def _run(
        self,
        x: Tensor | PackedSequence,
        belief: Belief | None,
        lengths: Tensor | Sequence[int] | None,
        generator: torch.Generator | None,
    ) -> tuple[Steps, list[Step], Belief]:
        """Every step's result for the sequences that run then, and the final belief."""
        self._check_settings()
        if belief is not None:
            require_generator("a given belief", generator, needed=self._is_deterministic)
        steps = steps_of(x, lengths, input_size=self.input_size, batch_first=self.batch_first)
        draws = self._draws(generator)
        if belief is None:
            belief = self._initial(steps.batch, draws)
        states, final = self._looped(self._checked(belief, steps.batch), steps, draws)
        return steps, states, final

    def _looped(
        self, given: Belief, steps: Steps, draws: Draws
    ) -> tuple[list[Step], Belief]:  # T, and the final belief
        belief = given.each(steps.arranged)
        ended: list[Belief] = []
        states: list[Step] = []
        gates, scores = self._of_inputs(steps.inputs)
        norms = normalisers(self.norm, belief, steps.running)
        for time, running in enumerate(steps.running):
            if running < len(belief.particles):
                belief, done = belief.cut(running)
                ended.append(done)
            if self.detach_every is not None and time and time % self.detach_every == 0:
                belief = belief.detach()
            state = self._advance(belief, gates[time], scores[time], steps, draws, norms[time])
            states.append(state)
            belief = state.belief
        record(self.norm, norms, given.steps)
        final = Belief.joined([belief, *reversed(ended)]).each(steps.restored)
        return states, replace(final, steps=given.steps + len(steps.running))

    def _of_inputs(
        self,
        inputs: Tensor,  # (T, B, D)
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:  # T of (B, G), T of (B,)
        """What the inputs add to gates and scores, for all steps at once and for no particle."""
        check_type(inputs, self.score.weight)
        dtype = self._state_dtype
        gates = self.input_gates(features(self.control, inputs)).to(dtype)
        bias = self._gate_bias()
        if bias is not None:
            gates = gates + bias.to(dtype)
        seen = features(self.observation, inputs).to(dtype)
        scores = weighted(seen, self.score.weight[0, self.hidden_size :])
        assert self.score.bias is not None
        return gates.unbind(0), (scores + self.score.bias.to(dtype)).unbind(0)

    def _advance(
        self,
        belief: Belief,  # (B, K, H)
        gates: Tensor,  # (all, G)
        scores: Tensor,  # (all,)
        steps: Steps,
        draws: Draws,
        norm: Norm | None,
    ) -> Step:
        """Transition, reweighting and resampling of the sequences that run."""
        running, count = belief.log_weights.shape

        def drawn(numbers: Tensor) -> Tensor:
            # Drawn for all sequences in the caller's order: nobody's draws depend on who runs.
            return steps.arranged(numbers)[:running]

        noisy = self.training or self.eval_noise
        noise = drawn(draws.normal(steps.batch, count, self.hidden_size)) if noisy else None
        if running == 0:
            return Step(belief, belief.log_weights, belief.log_weights.long())
        belief = self._transition(belief, gates[:running], noise, norm)
        return observe(
            belief,
            self._scores(belief.particles, scores[:running]),
            lambda each: drawn(draws.uniform(steps.batch, each)),
            when=self.resampling,
            scheme=self.scheme,
            alpha=self.alpha,
            ess_threshold=self.ess_threshold,
        )

    def _scores(
        self,
        particles: Tensor,  # (B, K, H)
        of_input: Tensor,  # (B,)
    ) -> Tensor:  # (B, K)
        scores = weighted(particles, self.score.weight[0, : self.hidden_size])
        scores = scores + of_input.unsqueeze(1)
        return clamp_scores(scores) if self.score_clamp else scores
