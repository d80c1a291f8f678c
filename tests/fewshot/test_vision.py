"""torchvision and learn2learn import and work, beside a CPU-only torch too."""

import subprocess
import sys

SCRIPT = """
import warnings; warnings.simplefilter("ignore")
import torch
from fewshot.vision import models, transforms
import learn2learn, torchvision
assert models.resnet18(num_classes=3).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
assert transforms.functional.resize(torch.zeros(3, 8, 8), [4, 4]).shape == (3, 4, 4)
clone = learn2learn.algorithms.MAML(torch.nn.Linear(2, 2), lr=0.1).clone()
clone.adapt(clone(torch.ones(1, 2)).sum())
"""


def test_torchvision_and_learn2learn_work():
    process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
