"""torchvision, importable beside a CPU-only torch too. Import it from here, never directly.

The published torchvision wheel is built against CUDA. Beside a CPU-only torch its compiled operators cannot load, and
`import torchvision` fails with "operator torchvision::nms does not exist" although datasets, transforms and models need
none of them. Declaring the two schemas its import looks for is enough.
"""

import torch

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared = torch.library.Library("torchvision", "FRAGMENT")


def _declare_missing_operators() -> None:
    try:
        import torchvision  # noqa: F401  # works wherever the operators load
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in ("nms", "qnms"):
            _declared.define(name + _SIGNATURE)


_declare_missing_operators()

from torchvision import datasets, models  # noqa: E402
from torchvision.transforms import v2 as transforms  # noqa: E402

__all__ = ["datasets", "models", "transforms"]
