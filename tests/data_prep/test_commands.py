"""The list of commands."""

import importlib
import subprocess
import sys

from data_prep.__main__ import commands


def test_every_command_is_listed_with_what_it_does():
    listed = dict(commands())
    told = subprocess.run([sys.executable, "-m", "data_prep"], capture_output=True, text=True, check=True).stdout
    for name, line in listed.items():
        assert callable(importlib.import_module(f"data_prep.{name}").main)
        assert f"  {name}" in told
        assert len(line) > 10
        assert line in told
    assert {"image_folder", "mini_imagenet", "verify"} <= set(listed)
