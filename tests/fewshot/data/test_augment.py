"""Batched augmentation against torchvision's operators, one image at a time."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from fewshot.data.augment import Augment, Draw
from fewshot.errors import InputError
from fewshot.vision import transforms

OFF: dict[str, Any] = {"scale": None, "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
F = transforms.functional


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, channels: int = 3, height: int = 21, width: int = 21) -> Tensor:
    """uint8 noise, smoothed a little, with some gray and some saturated pixels among it."""
    images = torch.rand(count, channels, height, width, generator=seeded(7)) * 1.4 - 0.2
    images[:, :, :3] = images[:, :1, :3]
    return (images.clamp(0, 1) * 255).round().byte()


def one_at_a_time(augment: Augment, images: Tensor, draw: Draw) -> Tensor:
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    size = list(images.shape[2:])
    results = []
    for i, image in enumerate(images.float() / 255):
        top, left, height, width = (int(v) + augment.pad for v in draw.boxes[i])
        padded = F.pad(image, [augment.pad])
        result = F.resized_crop(padded, top, left, height - augment.pad, width - augment.pad, size, antialias=True)
        result = F.hflip(result) if draw.flipped[i] else result
        for which in draw.order:
            result = adjust[which](result, float(draw.factors[which, i]))
        results.append(result)
    return torch.stack(results)


@pytest.mark.parametrize("shape", [(3, 21, 21), (1, 28, 28), (3, 16, 30), (1, 40, 9)])
@pytest.mark.parametrize(
    "options", [{}, {"scale": None, "pad": 4}, {"scale": (0.5, 0.6), "ratio": (2.0, 3.0)}], ids=str
)
def test_equals_torchvision_one_image_at_a_time(shape: tuple[int, int, int], options: dict[str, Any]) -> None:
    images, augment = pictures(24, *shape), Augment(**options)
    for seed in range(4):
        draw = augment.draw(images.shape, seeded(seed))
        torch.testing.assert_close(augment.apply(images, draw), one_at_a_time(augment, images, draw), atol=5e-5, rtol=0)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_colour_transform_equals_torchvision_at_full_strength(name: str) -> None:
    images, augment = pictures(24), Augment(**OFF | {name: 0.5 if name == "hue" else 3.0})
    draw = augment.draw(images.shape, seeded())
    adjusted = augment.apply(images, draw)
    torch.testing.assert_close(adjusted, one_at_a_time(augment, images, draw), atol=2e-5, rtol=0)
    assert (adjusted - images / 255).abs().amax(dim=(1, 2, 3)).min() > 0.01


def test_zero_strength_is_the_identity() -> None:
    images = pictures(5)
    assert torch.equal(Augment(**OFF)(images, seeded()), images / 255)
    whole = Augment(**OFF | {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)})
    torch.testing.assert_close(whole(images, seeded()), images / 255, atol=1e-5, rtol=0)


def test_certain_flip_mirrors_left_and_right() -> None:
    images = pictures(5)
    torch.testing.assert_close(
        Augment(**OFF | {"flip": 1.0})(images, seeded()), images.flip(3) / 255, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_result_is_float_in_the_unit_interval(channels: int) -> None:
    images = pictures(16, channels)
    for given in (images, images.float() / 255, images.contiguous(memory_format=torch.channels_last)):
        augmented = Augment()(given, seeded())
        assert augmented.shape == images.shape
        assert augmented.dtype == torch.float32
        assert augmented.min() >= 0
        assert augmented.max() <= 1
        torch.testing.assert_close(augmented, Augment()(images, seeded()))


def test_generator_decides_and_global_state_stays() -> None:
    images = pictures(8)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    one, generator = Augment()(images, seeded(3)), seeded(3)
    assert torch.equal(Augment()(images, generator), one)
    assert not torch.equal(Augment()(images, generator), one)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]  # noqa: NPY002


def test_every_image_has_its_own_parameters() -> None:
    same = pictures(1).expand(12, -1, -1, -1)
    augmented = Augment()(same, seeded()).flatten(1)
    assert torch.cdist(augmented, augmented)[~torch.eye(12, dtype=torch.bool)].min() > 0.1


def test_images_do_not_influence_each_other() -> None:
    images, augment = pictures(10), Augment()
    draw = augment.draw(images.shape, seeded())
    some = torch.tensor([7, 2, 2])
    part = Draw(draw.boxes[some], draw.flipped[some], draw.factors[:, some], draw.order)
    torch.testing.assert_close(augment.apply(images[some], part), augment.apply(images, draw)[some])


@pytest.mark.parametrize("size", [(84, 84), (28, 50)])
def test_crops_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    ours = Augment().draw(torch.Size([4000, 3, *size]), seeded(1)).boxes
    with torch.random.fork_rng():
        torch.manual_seed(2)
        example = torch.empty(3, *size)
        crop = transforms.RandomResizedCrop.get_params
        theirs = torch.tensor([crop(example, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    for column in range(4):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).pvalue > 1e-3
    assert stats.ks_2samp(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]).pvalue > 1e-3


def test_padded_crops_are_uniform_over_all_shifts() -> None:
    boxes = Augment(**OFF | {"pad": 2}).draw(torch.Size([5000, 3, 9, 7]), seeded(1)).boxes
    assert (boxes[:, 2:] == torch.tensor([9, 7])).all()
    shifts = (boxes[:, 0] + 2) * 5 + boxes[:, 1] + 2
    assert stats.chisquare(torch.bincount(shifts, minlength=25)).pvalue > 1e-3


@pytest.mark.parametrize("size", [(10, 90), (90, 10), (30, 30)])
def test_where_nothing_fits_the_crop_is_central(size: tuple[int, int]) -> None:
    augment = Augment(scale=(1.0, 1.0), ratio=(0.9, 0.95))
    boxes = augment.draw(torch.Size([3, 3, *size]), seeded()).boxes
    with torch.random.fork_rng():
        expected = transforms.RandomResizedCrop.get_params(torch.empty(3, *size), [1.0, 1.0], [0.9, 0.95])
    assert boxes.tolist() == [list(expected)] * 3


def test_factors_flips_and_orders_are_uniform() -> None:
    draws = [Augment(brightness=2.0).draw(torch.Size([500, 3, 8, 8]), seeded(i)) for i in range(48)]
    factors = torch.cat([draw.factors for draw in draws], dim=1)
    for values, (low, high) in zip(factors, [(0, 3), (0.6, 1.4), (0.6, 1.4), (-0.2, 0.2)], strict=True):
        assert stats.kstest(values.numpy(), stats.uniform(low, high - low).cdf).pvalue > 1e-3
    flips = int(torch.cat([draw.flipped for draw in draws]).sum())
    assert stats.binomtest(flips, 48 * 500).pvalue > 1e-3
    assert len({draw.order for draw in draws}) > 12


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": (0.0, 1.0)},
        {"scale": (0.5, 0.4)},
        {"scale": (0.5, 1.1)},
        {"ratio": (0.0, 1.0)},
        {"pad": -1},
        {"pad": 4},
        {"flip": 1.5},
        {"brightness": -0.1},
        {"contrast": float("nan")},
        {"saturation": float("inf")},
        {"hue": 0.6},
    ],
)
def test_strengths_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(InputError, match=re.escape(f"augmentation: {name} is {value}; choose ")):
        Augment(**wrong)


def test_other_channel_counts_are_refused() -> None:
    with pytest.raises(InputError, match="2 channels"):
        Augment()(pictures(1)[:, :2], seeded())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cpu_generator_augments_alike_on_cuda() -> None:
    images = pictures(16)
    on_device = Augment()(images.cuda(), seeded())
    torch.testing.assert_close(on_device.cpu(), Augment()(images, seeded()), atol=1e-4, rtol=0)
