"""Weights as people publish them come in, or are refused for what they are."""

import re

import pytest
import torch
from safetensors.torch import save_file

from fewshot.backbones.foreign_weights import import_weights
from fewshot.errors import InputError
from fewshot.nets.backbone import build_backbone


def weights_of(backbone="conv4_64", size=32):
    return build_backbone(backbone, 3, size, torch.Generator().manual_seed(3)).state_dict()


def of_the_sib_repository(weights):
    names = {"0": "Conv", "1": "BatchNorm"}
    parts = [(name.split("."), value) for name, value in weights.items()]
    return {f"conv_blocks.{block}.layers.{names[i]}.{what}": value for (_, block, i, what), value in parts}


def around(prefix, weights):
    return {f"{prefix}{name}": value for name, value in weights.items()}


HEAD = {"fc.weight": torch.ones(5, 7), "classifier.bias": torch.ones(5)}
WRAPPED = {
    "plain": lambda w: w,
    "state_dict": lambda w: {"state_dict": w, "epoch": 3, "optimizer": {"lr": 0.1}},
    "params": lambda w: {"params": w},
    "model_state_dict": lambda w: {"epoch": 1, "model_state_dict": w},
    "encoder.": lambda w: around("encoder.", w),
    "backbone. and a head": lambda w: around("backbone.", w) | HEAD,
    "module.": lambda w: around("module.", w),
    "module.encoder. in params, and a head": lambda w: {"params": around("module.", around("encoder.", w) | HEAD)},
    "a head": lambda w: w | HEAD,
    "other names in a wrapper": lambda w: {"state": 1, "model": around("module.feature.", of_the_sib_repository(w))},
    "blocks without a name": lambda w: {name.removeprefix("blocks."): value for name, value in w.items()},
    "layers": lambda w: {re.sub(r"blocks\.(\d)", lambda m: f"layer{int(m[1]) + 1}", n): v for n, v in w.items()},
}


@pytest.mark.parametrize("form", WRAPPED)
def test_state_dicts_in_their_usual_wrappers_come_in(form, tmp_path):
    weights = weights_of()
    torch.save(WRAPPED[form](weights), tmp_path / "theirs.pth")
    found = import_weights(tmp_path / "theirs.pth", "conv4_64", 3, 32)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_resnet12_by_the_names_of_metaoptnet(tmp_path):
    weights = weights_of("resnet12", 84)
    theirs = {}
    for name, value in weights.items():
        name = re.sub(r"^blocks\.(\d)\.", lambda match: f"layer{int(match[1]) + 1}.0.", name)
        name = name.replace(".shortcut_norm.", ".downsample.1.").replace(".shortcut.", ".downsample.0.")
        theirs[re.sub(r"\.norm(\d)", r".bn\1", name)] = value
    torch.save(around("module.", theirs), tmp_path / "theirs.pth")
    found = import_weights(tmp_path / "theirs.pth", "resnet12", 3, 84)
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_safetensors_come_in(tmp_path):
    weights = weights_of()
    save_file(weights, tmp_path / "theirs.safetensors")
    found = import_weights(tmp_path / "theirs.safetensors", "conv4_64", 3, 32)
    assert all(torch.equal(found[name], value) for name, value in weights.items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (b"\n <html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "it is a Git LFS pointer"),
        (b'{"error": 404}', "it is a text of a server"),
        (b"", "it is empty"),
        (b"\x80\x02something", "not a file of tensors alone"),
        (None, "there is no such file"),
    ],
)
def test_what_is_no_file_of_weights_is_called_by_its_name(content, message, tmp_path):
    if content is not None:
        (tmp_path / "theirs.pth").write_bytes(content)
    with pytest.raises(InputError, match=message):
        import_weights(tmp_path / "theirs.pth", "conv4_64", 3, 32)


def changed(name, value):
    return {**weights_of(), name: value}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (changed("blocks.1.1.bias", torch.full((64,), torch.nan)), r"blocks\.1\.1\.bias holds NaN"),
        (changed("blocks.1.1.bias", torch.full((64,), torch.inf)), r"blocks\.1\.1\.bias holds NaN or infinity"),
        (changed("blocks.1.1.bias", torch.empty(64, device="meta")), "has no values .device meta"),
        (changed("blocks.1.1.bias", torch.zeros(64, dtype=torch.int8)), "is torch.int8"),
        (changed("blocks.1.1.bias", torch.zeros(64).to_sparse()), "torch.sparse_coo"),
        (changed("blocks.9.weight", torch.zeros(1)), "1 weights are missing, unknown"),
        ({"epoch": 3}, "it is not a state dict"),
        ({"state_dict": {"epoch": 3}}, "it is not a state dict"),
        ([1, 2], "it is not a state dict"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(weights, message, tmp_path):
    torch.save(weights, tmp_path / "theirs.pth")
    with pytest.raises(InputError, match=message):
        import_weights(tmp_path / "theirs.pth", "conv4_64", 3, 32)
