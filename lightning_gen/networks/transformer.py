"""A small causal transformer over sequences of discrete codes: p(c) = prod_i p(c_i | c_1, ..., c_i-1)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.errors import UserError
from lightning_gen.networks.precision import full_precision


class Block(nn.Module):
    """Self-attention and a perceptron, each with layer norm at its input and a shortcut (Radford et al. 2019)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_perceptron = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project_in, self.project_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, cache: Tensor | None = None, position: int = 0) -> Tensor:
        """[B, T, width] to the same; with a `cache` [2, B, heads, P, width / heads], x is one token at `position`."""
        projected = self.project_in(self.before_attention(x))
        query, key, value = projected.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B, heads, T, .]
        if cache is None:
            seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            cache[0, :, :, position], cache[1, :, :, position] = key[:, :, 0], value[:, :, 0]
            seen = F.scaled_dot_product_attention(query, *cache[:, :, :, : position + 1])
        x = x + self.project_out(seen.transpose(1, 2).flatten(2))
        return x + self.perceptron(self.before_perceptron(x))


class CodeTransformer(nn.Module):
    """Codes int64 [B, P] in [0, num_codes) to the logits of each code given those before it, [B, P, num_codes].

    The sequence starts with its class if `num_classes` is above 0, otherwise with a learned start. The last layer
    starts at 0, so an untrained transformer is the uniform distribution.

    Raises:
        UserError: `heads` does not divide `width`.
    """

    def __init__(
        self, num_codes: int, positions: int, width: int, depth: int, heads: int, num_classes: int = 0
    ) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"model.prior.width={width} must be a multiple of model.prior.heads={heads}.")
        self.num_codes, self.positions, self.heads = num_codes, positions, heads
        self.start = nn.Embedding(max(num_classes, 1), width)
        self.embedding = nn.Embedding(num_codes, width)
        self.places = nn.Parameter(0.02 * torch.randn(positions, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, num_codes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        for table in (self.start, self.embedding):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        before = torch.cat([self._start(codes, labels), self.embedding(codes[:, :-1])], dim=1)
        x = before + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def nll(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """-log p(c) in nats, [B]."""
        logits = full_precision(self(codes, labels)).flatten(0, 1)
        return F.cross_entropy(logits, codes.flatten(), reduction="none").view_as(codes).sum(dim=1)

    @torch.no_grad()
    def sample(self, uniform: Tensor, labels: Tensor | None = None) -> Tensor:
        """Draw codes int64 [B, P] from U[0, 1) noise [B, P], one position after the other for the whole batch.

        Keys and values are cached, so each position costs one token.
        """
        codes = torch.zeros(uniform.shape, dtype=torch.int64, device=uniform.device)
        shape = (2, len(codes), self.heads, self.positions, self.places.shape[1] // self.heads)
        caches = [self.places.new_zeros(shape) for _ in self.blocks]
        x = self._start(codes, labels)
        for position in range(self.positions):
            x = x + self.places[position]
            for block, cache in zip(self.blocks, caches, strict=True):
                x = block(x, cache, position)
            probabilities = full_precision(self.head(self.norm(x[:, 0]))).softmax(dim=1)
            wanted = uniform[:, position, None].contiguous()
            drawn = torch.searchsorted(probabilities.cumsum(dim=1), wanted, right=True)
            codes[:, position] = drawn[:, 0].clamp_max(self.num_codes - 1)
            x = self.embedding(codes[:, position, None])
        return codes

    def _start(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        first = torch.zeros_like(codes[:, 0]) if labels is None else labels
        return self.start(first).unsqueeze(1)  # [B, 1, width]
