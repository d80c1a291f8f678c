"""Networks in bfloat16: what changes, what does not, and where it is refused."""

import pytest
import torch

from fewshot.errors import InputError
from fewshot.general.tasks import Classification, open_task
from fewshot.nets import precision
from fewshot.nets.precision import InBfloat16, check_precision
from fewshot.nets.small import MLP

CPU = torch.device("cpu")


def test_scores_and_gradients_are_float32_and_right_to_bfloat16():
    net, generator = MLP(64, 32, 10), torch.Generator().manual_seed(0)
    half, weights, inputs = InBfloat16(net), net.init(generator), torch.randn(7, 1, 8, 8, generator=generator)
    several = torch.stack([weights, -weights])
    for call in (lambda n, w: n(w[0], inputs), lambda n, w: n.stacked(w, inputs.expand(2, -1, -1, -1, -1))):
        results = []
        for each in (net, half):
            leaf = several.clone().requires_grad_()
            scores = call(each, leaf)
            results.append((scores, *torch.autograd.grad(scores.square().sum(), leaf)))
        for full, rounded in zip(*results, strict=True):
            assert rounded.dtype == torch.float32
            error = (rounded - full).norm() / full.norm()
            assert 1e-4 < error < 2e-2
    assert half.layout.total == net.layout.total
    assert torch.equal(half.init(torch.Generator().manual_seed(3)), net.init(torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16", None])
def test_bfloat16_is_refused_where_it_is_emulated(monkeypatch, feature):
    monkeypatch.delenv(precision.EMULATE, raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: True, "avx512_f": True}, raising=False)
    check_precision("fp32", CPU)
    if feature is not None:
        check_precision("bf16", CPU)
        return
    with pytest.raises(InputError, match=r"this cpu has neither .* would emulate it.*--precision fp32"):
        check_precision("bf16", CPU)
    monkeypatch.setenv(precision.EMULATE, "1")
    check_precision("bf16", CPU)


def test_tasks_without_a_network_know_float32_only(tmp_path):
    task = open_task("digits_mlp", tmp_path, CPU)
    assert isinstance(task, Classification)
    task.use_precision("fp32")
    assert isinstance(task.net, MLP)
    task.use_precision("bf16")
    assert isinstance(task.net, InBfloat16)
    plain = open_task("quadratic", tmp_path, CPU)
    with pytest.raises(InputError, match="knows float32 only"):
        plain.use_precision("bf16")
