"""The network for texts against its equations written out."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.nets.text import TextLSTM

NET = TextLSTM(vocabulary=9, classes=3, embedding=4, hidden=5)
TEXTS = torch.tensor(
    [[3, 8, 1, 2, 0, 0], [7, 7, 4, 5, 6, 2], [0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0]], dtype=torch.int32
)


def weights() -> Tensor:
    return NET.init(torch.Generator().manual_seed(0)).double()


def by_loop(flat: Tensor, text: list[int]) -> Tensor:
    w = NET.layout.unflatten(flat)
    h = c = flat.new_zeros(5)
    for word in text[: max(1, sum(number != 0 for number in text))]:
        x = w["embedding.weight"][word]
        gates = w["lstm.weight_ih_l0"] @ x + w["lstm.bias_ih_l0"] + w["lstm.weight_hh_l0"] @ h + w["lstm.bias_hh_l0"]
        i, f, g, o = gates.split(5)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    return w["linear.weight"] @ h + w["linear.bias"]


def test_scores_and_gradients_are_those_of_a_plain_loop() -> None:
    ours, theirs = weights().requires_grad_(), weights().requires_grad_()
    scores = NET(ours, TEXTS)
    expected = torch.stack([by_loop(theirs, text) for text in TEXTS.tolist()])
    torch.testing.assert_close(scores, expected)
    cotangent = torch.randn(scores.shape, generator=torch.Generator().manual_seed(1)).double()
    (found,), (wanted,) = (
        torch.autograd.grad((s * cotangent).sum(), w) for s, w in ((scores, ours), (expected, theirs))
    )
    torch.testing.assert_close(found, wanted)
    by_name = NET.layout.unflatten(wanted)
    assert all(gradient.abs().sum() > 0 for gradient in by_name.values())


def test_padding_changes_nothing() -> None:
    flat = weights()
    torch.testing.assert_close(NET(flat, TEXTS[:1, :4]), NET(flat, TEXTS[:1]))


def test_number_of_weights_and_initialization() -> None:
    net = TextLSTM(5000)
    flat = net.init(torch.Generator().manual_seed(0))
    assert net.layout.total == len(flat) == 86_466
    assert torch.equal(flat, net.init(torch.Generator().manual_seed(0)))
    parts = net.layout.unflatten(flat)
    assert 0.99 < float(parts["embedding.weight"].std()) < 1.01
    assert all(part.abs().max() <= 32**-0.5 for name, part in parts.items() if name != "embedding.weight")
