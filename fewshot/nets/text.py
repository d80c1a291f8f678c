"""A network for texts, as a function of one flat weight vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fewshot.nets.functional import FlatLayout, uniform_fan_in
from fewshot.nets.small import FlatNet


class TextLSTM(FlatNet):
    """Embedding - LSTM - classes, read at a text's last word; 5 000 words, 16 and 32 units have 86 466 weights.

    Inputs are numbers of words [B, L], padded at their ends with 0, which nothing depends on. Weights start as torch's
    layers do.
    """

    def __init__(self, vocabulary: int, classes: int = 2, embedding: int = 16, hidden: int = 32) -> None:
        with torch.device("meta"):
            self._lstm = nn.LSTM(embedding, hidden, batch_first=True)
        recurrent = {f"lstm.{name}": tuple(p.shape) for name, p in self._lstm.named_parameters()}
        self.hidden = hidden
        self.layout = FlatLayout(
            {
                "embedding.weight": (vocabulary, embedding),
                **recurrent,
                "linear.weight": (classes, hidden),
                "linear.bias": (classes,),
            }
        )

    def init(self, generator: torch.Generator) -> Tensor:
        weights = {
            name: torch.randn(shape, generator=generator)
            if name == "embedding.weight"
            else uniform_fan_in(shape, self.hidden, generator)
            for name, shape in self.layout.shapes.items()
        }
        return self.layout.flatten(weights)

    def scores(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        embedded = nn.functional.embedding(inputs, weights["embedding.weight"])
        recurrent = {name.removeprefix("lstm."): w for name, w in weights.items() if name.startswith("lstm.")}
        outputs, _ = torch.func.functional_call(self._lstm, recurrent, (embedded,))
        last = (inputs != 0).sum(dim=1).clamp_min(1) - 1
        read = outputs[torch.arange(len(inputs), device=inputs.device), last]
        return nn.functional.linear(read, weights["linear.weight"], weights["linear.bias"])
