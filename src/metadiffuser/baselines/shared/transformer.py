"""A decision transformer with a trajectory prompt: what Prompt-DT and Meta-DT have in common.

Chen et al., *Decision Transformer* (NeurIPS 2021): steps of an episode are tokens R̂, s, a, and the token of a state
predicts the action. Xu et al., *Prompting Decision Transformer* (ICML 2022): before them stand the tokens of a few
steps of another episode of the task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from metadiffuser.baselines.shared.interface import BaselineModel, Sizes
from metadiffuser.config.schema import BatchSize, Count, GradientSteps, LearningRate, MethodParameters

ORDER = (0, 2, 1)  # place within a step of its return-to-go, action and state, the order of tokens in memory
KINDS = len(ORDER)
TARGETS = {"target_shift": (0.0, 0.2, -0.2, 0.5, -0.5, 1.0)}  # what a user may set at test time


class PromptedParameters(MethodParameters):
    """A decision transformer with a prompt."""

    steps: GradientSteps = 6000
    batch_size: BatchSize = 64
    learning_rate: LearningRate = 0.003
    layers: Count = Field(2, description="blocks of the transformer")
    width: Count = Field(64, description="features of a token")
    window: Count = Field(10, description="K, the most steps of history that are read")
    prompt: Count = Field(5, description="steps of the prompt")
    target_shift: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] = Field(
        0.0, description="added to the return that the prompt promises, in standard deviations of returns-to-go"
    )


@dataclass(frozen=True)
class Steps:
    """L consecutive steps of B episodes, in the environment's units.

    Attributes:
        returns: return-to-go R̂ (B, L), the rewards of this and all later steps.
        states: (B, L, S).
        actions: (B, L, A).
        times: number of each step in its episode (B, L).
        latents: what else is given at each step (B, L, Z); Z is 0 in Prompt-DT.
        mask: False (B, L) where there is no step, which only prompts may lack.
    """

    returns: Tensor
    states: Tensor
    actions: Tensor
    times: Tensor
    latents: Tensor
    mask: Tensor


class Block(nn.Module):
    """Self-attention of one head, as published, and a perceptron, each added to its normalised input.

    Args:
        width: features of a token.
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm_feedforward = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(inplace=True), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return the last Q of tokens (B, N, W); mask (Q, N) is 0 where one reads another, else minus infinity.

        For so few tokens plain products and a given mask are faster than the library's fused attention.
        """
        count, width = len(mask), tokens.shape[-1]
        normed, last = self.norm_attention(tokens), tokens[:, -count:]
        weights, biases = (part.split([width, 2 * width]) for part in (self.project.weight, self.project.bias))
        query = functional.linear(normed[:, -count:], weights[0], biases[0])
        key, value = functional.linear(normed, weights[1], biases[1]).chunk(2, dim=-1)
        attention = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=width**-0.5).softmax(dim=-1)
        last = last + self.mix(torch.bmm(attention, value))
        summed: Tensor = last + self.feedforward(self.norm_feedforward(last))
        return summed


class StepEmbedding(nn.Module):
    """Tokens of steps: a linear map of each kind plus a learned embedding of the time, normalised.

    Args:
        observation: S.
        action: A.
        latent: Z, given with the state.
        episode: T.
        width: features of a token.
    """

    def __init__(self, observation: int, action: int, latent: int, episode: int, width: int):
        super().__init__()
        self.returns = nn.Linear(1, width)
        self.states = nn.Linear(observation + latent, width)
        self.actions = nn.Linear(action, width)
        self.times = nn.Embedding(episode, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, returns: Tensor, states: Tensor, actions: Tensor, times: Tensor) -> Tensor:
        """Return tokens (B, 3L, W): all R̂, then all a, then all s; states (B, L, S + Z) end with z, if there is one."""
        kinds = [self.returns(returns[..., None]), self.actions(actions), self.states(states)]
        tokens = torch.stack(kinds, dim=1) + self.times(times)[:, None]
        normed: Tensor = self.norm(tokens).flatten(1, 2)
        return normed


def causal_mask(prompt: int, history: int) -> Tensor:
    """Return the additive mask (N, N) of the tokens of ``prompt`` and ``history`` steps, as they lie in memory.

    In time a sequence is R̂, s, a of each step, with the separator after the prompt, and a token reads itself and what
    is before it. In memory the separator and the states are last, since nothing but they is read off, and the last
    action is left out, since nothing reads it.
    """
    within = torch.tensor(ORDER)[:, None]
    before, after = ((KINDS * torch.arange(steps) + within).flatten() for steps in (prompt, history))
    separator = torch.tensor([KINDS * prompt])
    after = after + separator + 1
    used = max(0, 2 * history - 1)
    places = torch.cat([before, after[:used], separator, after[2 * history :]])
    return torch.where(places[:, None] >= places, 0.0, -torch.inf)


class PromptedModel(BaselineModel):
    """pi(a_t | prompt, R̂_i, s_i, a_i for i < t, R̂_t, s_t), and the return that the prompt's task promises.

    Between prompt and history stands one token of our own, which reads only the prompt. From it a linear head
    predicts the return that the data show to be within reach on the task: the target at an episode's start. Places of a
    prompt without a step hold a learned token instead, so that one causal mask serves all rows.

    Args:
        sizes: of the family and the shared encoder.
        config: the method's section.
        latent: Z, given with the states of the history.
    """

    return_mean: Tensor
    return_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(self, sizes: Sizes, config: PromptedParameters, latent: int = 0):
        super().__init__(sizes, config)
        width = config.width
        self.latent = latent
        self.embed_prompt = StepEmbedding(sizes.observation, sizes.action, 0, sizes.episode, width)
        self.embed_history = StepEmbedding(sizes.observation, sizes.action, latent, sizes.episode, width)
        self.missing = nn.Parameter(0.02 * torch.randn(width))
        self.separator = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.action_head = nn.Linear(width, sizes.action)
        self.target_head = nn.Linear(width, 1)
        for name in ("return", "target"):
            self.register_buffer(f"{name}_mean", torch.zeros(()))
            self.register_buffer(f"{name}_std", torch.ones(()))

    @property
    def window(self) -> int:
        """K, the most steps of history that the model reads."""
        return min(int(self.config.window), self.sizes.episode)

    @property
    def prompt(self) -> int:
        """P, the steps of a prompt."""
        return min(int(self.config.prompt), self.sizes.episode)

    def forward(self, prompt: Steps, history: Steps) -> tuple[Tensor, Tensor]:
        """Return actions (B, L, A), in [-1, 1], for each state of the history, and targets (B,), normalised."""
        before = self._prompt_tokens(prompt)
        states = torch.cat([self._local(history.states), history.latents], dim=-1)
        after = self.embed_history(self._normalise(history.returns), states, history.actions, history.times)
        output = self._read(before, after)
        return torch.tanh(self.action_head(output[:, 1:])), self.target_head(output[:, 0])[:, 0]

    def targets(self, prompt: Steps) -> Tensor:
        """Return the return (B,) asked for on the task of a prompt: what is within reach there, and the shift."""
        before = self._prompt_tokens(prompt)
        normalised: Tensor = self.target_head(self._read(before, before[:, :0]))[:, 0, 0]
        shift: Tensor = self.config.target_shift * self.return_std
        return normalised * self.target_std + self.target_mean + shift

    def _read(self, before: Tensor, after: Tensor) -> Tensor:
        """Return what separator and states (B, 1 + L, W) have read of a prompt's and a history's tokens."""
        prompt, history = (tokens.shape[1] // KINDS for tokens in (before, after))
        mask = causal_mask(prompt, history)
        separator = self.separator.expand(len(before), 1, -1)
        tokens = torch.cat([before, after[:, : max(0, 2 * history - 1)], separator, after[:, 2 * history :]], dim=1)
        for block in self.blocks[:-1]:
            tokens = block(tokens, mask)
        # The last block computes only the tokens that are read off.
        output: Tensor = self.norm(self.blocks[-1](tokens, mask[-(1 + history) :]))
        return output

    def _prompt_tokens(self, prompt: Steps) -> Tensor:
        tokens = self.embed_prompt(
            self._normalise(prompt.returns), self._local(prompt.states), prompt.actions, prompt.times
        )
        return torch.where(prompt.mask.repeat(1, KINDS)[..., None], tokens, self.missing)

    def _normalise(self, returns: Tensor) -> Tensor:
        return (returns - self.return_mean) / self.return_std

    def _local(self, states: Tensor) -> Tensor:
        return self.normaliser.local(self.normaliser.state(states))
