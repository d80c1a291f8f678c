"""Files for clusters that are not here: as far as they can be checked without one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.paper.__main__ import PaperCommand
from benchmarks.running.command import parse_as

SCRIPTS = Path(__file__).parents[1] / "scripts"


def test_the_manifest_is_a_cluster_whose_head_runs_nothing() -> None:
    yaml = pytest.importorskip("yaml")
    manifest = yaml.safe_load((SCRIPTS / "kuberay.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayCluster")
    head, (workers,) = manifest["spec"]["headGroupSpec"], manifest["spec"]["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (head, workers):
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert container["image"] == "IMAGE"


def test_the_slurm_script_is_one_and_its_options_are_those_of_commands() -> None:
    path = SCRIPTS / "slurm.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    assert "--signal B:TERM@" in text
    assert "-eq 143" in text
    words = ["table2", "--engine", "ray", "--address", "host:20001", "--storage", "results/checkpoints"]
    assert all(word in text for word in words[1:4:2])
    command = parse_as(PaperCommand, PaperCommand(), "benchmarks.paper", words)
    assert (command.engine, command.address, command.storage) == ("ray", "host:20001", "results/checkpoints")
