"""Backbones against networks written for the test, and what comes in from files."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from fewshot.backbones.file import BackboneInfo, load_backbone, read_info, save_backbone
from fewshot.backbones.foreign_weights import import_weights, translate
from fewshot.backbones.view import View
from fewshot.data.augment import Augment
from fewshot.errors import InputError
from fewshot.nets.backbone import BACKBONES, build_backbone, empty_backbone
from fewshot.nets.blocks import initialize
from fewshot.nets.wide_resnet import WideResNet

WIDTHS = (16, 16, 32, 64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def foreign_wide_resnet():
    """A random WRN-10-1 by the names of the SIB repository."""
    draw, weights = generator(), {"conv1.weight": (16, 3, 3, 3)}
    for block in range(3):
        inputs, outputs = WIDTHS[block : block + 2]
        prefix = f"block{block + 1}.layer.0."
        weights |= {f"{prefix}conv1.weight": (outputs, inputs, 3, 3), f"{prefix}conv2.weight": (outputs, outputs, 3, 3)}
        if inputs != outputs:
            weights[f"{prefix}convShortcut.weight"] = (outputs, inputs, 1, 1)
        for norm, size in (("bn1", inputs), ("bn2", outputs)):
            weights |= {f"{prefix}{norm}.{n}": (size,) for n in ("weight", "bias", "running_mean", "running_var")}
    weights |= {f"bn1.{n}": (64,) for n in ("weight", "bias", "running_mean", "running_var")}
    return {
        name: torch.rand(shape, generator=draw, dtype=torch.float64) + 0.5
        if name.endswith(("running_var", "bn1.weight", "bn2.weight"))
        else 0.3 * torch.randn(shape, generator=draw, dtype=torch.float64)
        for name, shape in weights.items()
    }


def slow_wide_resnet(p, x, first_stride):
    """Evaluation of pre-activated residual blocks, written out from the paper."""

    def norm(x, name):
        shape = (1, -1, 1, 1)
        mean, variance, gain, offset = (
            p[f"{name}.{n}"].view(shape) for n in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (variance + 1e-5).sqrt() * gain + offset).clamp(min=0)

    def convolve(x, name, stride=1):
        weight = p[f"{name}.weight"]
        size = weight.shape[-1]
        columns = F.unfold(x, size, padding=size // 2, stride=stride)
        side = (x.shape[-1] - 1) // stride + 1
        return (weight.flatten(1) @ columns).view(len(x), -1, side, side)

    x = convolve(x, "conv1")
    for block, stride in ((1, first_stride), (2, 2), (3, 2)):
        name = f"block{block}.layer.0."
        active = norm(x, f"{name}bn1")
        main = convolve(norm(convolve(active, f"{name}conv1", stride), f"{name}bn2"), f"{name}conv2")
        projected = f"{name}convShortcut"
        x = main + (convolve(active, projected, stride) if f"{projected}.weight" in p else x)
    return norm(x, "bn1").mean((2, 3))


@pytest.mark.parametrize(("size", "stride"), [(32, 1), (80, 2)])
def test_wide_resnet_in_evaluation_equals_one_written_for_the_test(size, stride):
    foreign = foreign_wide_resnet()
    net = WideResNet(3, size, depth=10, width=1)
    if stride == 2:  # which needs a projection in the first block: WRN-28-10 widens 16 channels to 160 there
        net, foreign = WideResNet(3, size, depth=10, width=2), widened(foreign)
    net = net.double().eval()
    missing = net.load_state_dict({translate(name): value for name, value in foreign.items()}, strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    images = torch.rand(2, 3, size, size, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(net(images), slow_wide_resnet(foreign, images, stride), rtol=1e-10, atol=1e-10)


def widened(foreign):
    """Weights of the shapes of a WRN-10-2 by the same names."""
    draw = generator(2)
    net, found = WideResNet(3, 80, depth=10, width=2), {}
    ours = net.state_dict()
    names = [*foreign, "block1.layer.0.convShortcut.weight"]
    for name in names:
        shape = ours[translate(name)].shape
        value = 0.2 * torch.randn(shape, generator=draw, dtype=torch.float64)
        found[name] = value.abs() + 0.5 if name.endswith("running_var") else value
    return found


@pytest.mark.parametrize("size", [32, 80])
def test_wide_resnet_has_the_parameter_count_of_the_original(size):
    net = empty_backbone("wrn_28_10", 3, size)
    assert sum(p.numel() for p in net.parameters()) == 36_472_784
    assert net.features == 640


def test_conv4_has_the_parameter_count_of_the_original():
    assert sum(p.numel() for p in empty_backbone("conv4_64", 3, 84).parameters()) == 112_832


@pytest.mark.parametrize("name", ["conv4_64", "resnet12"])
def test_backbones_give_as_many_features_as_they_say_and_draw_from_their_generator(name):
    before = torch.random.get_rng_state()
    net, again, other = (build_backbone(name, 1, 28, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    images = torch.rand(3, 1, 28, 28, generator=generator())
    net.eval(), again.eval(), other.eval()
    features = net(images)
    assert features.shape == (3, net.features)
    assert torch.equal(features, again(images))
    assert not torch.equal(features, other(images))


def test_unknown_names_and_tiny_images_are_refused():
    with pytest.raises(InputError, match="unknown backbone 'vgg'; choose one of: conv4_64, resnet12, wrn_28_10"):
        empty_backbone("vgg", 3, 84)
    with pytest.raises(InputError, match="images of 8 pixels are too small"):
        empty_backbone("conv4_64", 3, 8)
    assert set(BACKBONES) == {"conv4_64", "resnet12", "wrn_28_10"}


def foreign_conv4(net):
    """The state dict of a Conv4-64 by the names of the SIB repository, as `DataParallel` saves it."""
    layers = {"0": "Conv", "1": "BatchNorm"}
    parts = [(name.split("."), value) for name, value in net.state_dict().items()]
    return {f"module.conv_blocks.{b}.layers.{layers[i]}.{what}": value for (_, b, i, what), value in parts}


def test_weights_by_the_names_of_the_original_are_imported(tmp_path):
    net = build_backbone("conv4_64", 3, 32, generator())
    foreign = foreign_conv4(net)
    foreign.pop("module.conv_blocks.0.layers.BatchNorm.num_batches_tracked")
    torch.save(foreign, tmp_path / "theirs.pth")
    weights = import_weights(tmp_path / "theirs.pth", "conv4_64", 3, 32)
    assert weights.keys() == net.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in net.state_dict().items())


class Exploit:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('owned').touch()",))


@pytest.mark.parametrize("kind", ["pickle", "exploit", "number", "misfit", "absent"])
def test_files_that_are_not_fitting_weights_are_refused(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, weights = tmp_path / "theirs.pth", foreign_conv4(build_backbone("conv4_64", 3, 32, generator()))
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Exploit(), protocol=2))
    elif kind == "exploit":
        torch.save({**weights, "extra": Exploit()}, path)
    elif kind == "number":
        torch.save({**weights, "epoch": 3}, path)
    elif kind == "misfit":
        torch.save({name: value for name, value in weights.items() if "Conv.weight" not in name}, path)
    message = "4 weights are missing" if kind == "misfit" else "cannot import"
    with pytest.raises(InputError, match=message):
        import_weights(path, "conv4_64", 3, 32)
    assert not (tmp_path / "owned").exists()


@pytest.fixture
def saved(tmp_path):
    net = build_backbone("conv4_64", 3, 32, generator())
    view = View(32, 32, 3, (0.5,) * 3, (0.2,) * 3)
    info = BackboneInfo("conv4_64", "cifar_fs", "f" * 64, view, view.augment(4, True, 0.4), "test")
    return tmp_path / "b.safetensors", save_backbone(tmp_path / "b.safetensors", net.state_dict(), info), net


def test_a_backbone_file_gives_back_what_was_saved(saved):
    path, info, net = saved
    loaded, found = load_backbone(path)
    assert found == info == read_info(path)
    assert isinstance(found.augment, Augment)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    images = torch.rand(2, 3, 32, 32, generator=generator())
    torch.testing.assert_close(loaded(images), net.eval()(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("damage", ["absent", "pickle", "headless", "weights", "cut"])
def test_damaged_backbone_files_are_refused(saved, damage):
    path, info, _ = saved
    if damage == "absent":
        path.unlink()
    elif damage == "pickle":
        torch.save({"weights": Exploit()}, path)
    elif damage == "headless":
        save_file(load_file(path), path)
    elif damage == "weights":
        changed = {name: value + 1 for name, value in load_file(path).items()}
        save_file(changed, path, {"backbone": info.to_json()})
    else:
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=str(path)):
        load_backbone(path)


def test_initialization_is_he_with_fan_out():
    net = WideResNet(3, 32, depth=10, width=4)
    initialize(net, generator())
    (weight,) = (p.detach() for name, p in net.named_parameters() if name == "stages.1.0.conv2.weight")
    assert float(weight.std()) == pytest.approx((2 / (9 * weight.shape[0])) ** 0.5, rel=0.05)
