"""What all preparation commands share: finding, fetching, refusing, writing all or nothing."""

import dataclasses
import http.server
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from miniature import encoded, pictures, shrink, tar_bytes, write_files, write_zip

from data_prep import cifar100, image_folder
from data_prep.fetching.download import Mirror
from data_prep.preparing.options import Options
from data_prep.preparing.pipeline import prepare
from data_prep.preparing.recipe import Download
from fewshot.console import run_command
from fewshot.data.store import Dataset
from fewshot.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
SPLITS = {"train": ["cat", "dog"], "test": ["cat", "dog"]}
EACH = 6


def images():
    return {
        f"{split}/{label}/{row}.png": encoded(image)
        for seed, (split, label) in enumerate((split, label) for split, labels in SPLITS.items() for label in labels)
        for row, image in enumerate(pictures(EACH, 32, seed))
    }


@pytest.fixture
def small(monkeypatch):
    """CIFAR-100 with two classes, in folders of images."""
    shrink(monkeypatch, "cifar100", {split: dict.fromkeys(labels, EACH) for split, labels in SPLITS.items()})


@pytest.fixture
def folder(tmp_path, small):
    return write_files(tmp_path / "from", images())


def run(source, out, *more):
    cifar100.main(["--from", str(source), "--out", str(out), "--quiet", *more])
    return Dataset.open(out / "cifar100.h5")


def left_in(out):
    """Everything but the folder of downloads."""
    return sorted(path.name for path in out.iterdir() if path.name != "downloads")


def test_provenance_is_kept(folder, tmp_path):
    archive = write_zip(tmp_path / "some.zip", images())
    dataset = run(archive, tmp_path / "out", "--image-size", "16", "--resample", "box")
    assert dataset.sources["form"] == "folders of images"
    assert dataset.sources["published"] is False
    [file] = dataset.sources["files"]
    digest = subprocess.run(["sha256sum", archive], capture_output=True, text=True, check=True).stdout.split()[0]
    assert file == {"name": "some.zip", "bytes": archive.stat().st_size, "sha256": digest}
    assert "16x16" in dataset.resize
    assert "box" in dataset.resize
    assert str(tmp_path) not in json.dumps(dataset.sources)


def test_a_prepared_file_is_kept_until_forced(folder, tmp_path, capsys):
    run(folder, tmp_path / "out")
    before = (tmp_path / "out" / "cifar100.h5").stat()
    run(folder, tmp_path / "out", "--image-size", "8")
    after = (tmp_path / "out" / "cifar100.h5").stat()  # read meanwhile, so that its time of access may differ
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert "is there already" in capsys.readouterr().out
    assert run(folder, tmp_path / "out", "--image-size", "8", "--force")["train"].shape[1:] == (8, 8, 3)


@pytest.mark.parametrize("content", [b"", b"not HDF5", None])
def test_another_file_under_the_name_is_not_taken_for_the_dataset(content, folder, tmp_path, write_tiny_file):
    target = tmp_path / "out" / "cifar100.h5"
    target.parent.mkdir()
    write_tiny_file(target) if content is None else target.write_bytes(content)
    with pytest.raises(InputError, match="--force replaces it"):
        run(folder, tmp_path / "out")
    assert run(folder, tmp_path / "out", "--force").name == "cifar100"


def test_a_dry_run_tells_everything_and_writes_nothing(folder, tmp_path, capsys):
    archive = write_zip(tmp_path / "some.zip", images())
    cifar100.main(["--from", str(archive), "--out", str(tmp_path / "out"), "--dry-run"])
    told = capsys.readouterr().out
    for part in ("some.zip", "sha256 ", "train 2 classes / 12 images", "cifar100.h5", "32x32", "needs:  1.1 MB of"):
        assert part in told
    assert not (tmp_path / "out").exists()


def test_a_dry_run_without_files_tells_what_would_be_fetched(tmp_path, capsys):
    cifar100.main(["--out", str(tmp_path / "out"), "--dry-run"])
    told = capsys.readouterr().out
    assert "would fetch" in told
    assert "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz" in told
    assert "md5:eb9058c3a382ffc7106e4002c42a8d85" in told
    assert not (tmp_path / "out").exists()


def test_many_files_are_summed_up(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.fetching.found._LISTED_SINGLY", 3)
    sources = run(folder, tmp_path / "out").sources
    assert sources["number_of_files"] == 24
    assert sources["bytes"] == sum(len(data) for data in images().values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("train/dog/3.png"), "5 images of class dog, not 6"),
        (lambda files: [files.pop(f"test/dog/{row}.png") for row in range(EACH)], "the test split lacks class dog"),
        (lambda files: files.update({"train/cow/0.png": encoded(pictures(1)[0])}), "3 classes, not 2"),
        (lambda files: files.update({"train/cat/3.png": files["train/cat/2.png"]}), "are the same image"),
        (
            lambda files: files.update({"train/cat/3.png": files["train/cat/3.png"][:-30]}),
            "train/cat/3.png is a damaged",
        ),
        (lambda files: files.update({"train/cat/3.png": b"<html>"}), "train/cat/3.png is a damaged image or none"),
    ],
)
@pytest.mark.parametrize("write", [write_files, lambda path, files: write_zip(path.with_suffix(".zip"), files)])
def test_what_is_not_as_published_is_refused_and_an_earlier_file_stays(change, message, write, folder, tmp_path):
    earlier = run(folder, tmp_path / "out").fingerprint
    files = images()
    change(files)
    with pytest.raises(InputError, match=message):
        run(write(tmp_path / "changed", files), tmp_path / "out", "--force")
    again = Dataset.open(tmp_path / "out" / "cifar100.h5")
    again.verify()
    assert again.fingerprint == earlier
    assert left_in(tmp_path / "out") == ["cifar100.h5"]


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.usefixtures("small")
def test_truncated_archives_are_named(kind, keep, tmp_path):
    whole = write_zip(tmp_path / "w.zip", images()).read_bytes() if kind == "zip" else b""
    whole = whole or tar_bytes(images(), "w:gz" if kind == "tar.gz" else "w")
    keep = 0.5 if kind == "tar" and keep > 0.9 else keep  # a tar ends with 20 blocks that nobody needs
    archive = tmp_path / f"some.{kind}"
    archive.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(InputError, match=rf"some\.{kind}.*(truncated|damaged)"):
        run(archive, tmp_path / "out")
    assert left_in(tmp_path / "out") == []


@pytest.mark.usefixtures("small")
def test_an_error_page_under_an_archives_name_is_recognised(tmp_path):
    page = tmp_path / "cifar-100-python.tar.gz"
    page.write_bytes(b"<!DOCTYPE html><html><title>Quota exceeded</title></html>")
    with pytest.raises(InputError, match="is an HTML page instead of"):
        run(page, tmp_path / "out")


SCRIPT = """
import sys, time
sys.path[:0] = [{tests!r}]
import pytest
from miniature import shrink
from data_prep import cifar100
from data_prep.preparing import filling
from fewshot.console import run_command

patch = pytest.MonkeyPatch()
shrink(patch, "cifar100", {{split: dict.fromkeys(["cat", "dog"], {each}) for split in ("train", "test")}})
written = filling.Rows.write

def write_and_wait(self, writer, batch):
    written(self, writer, batch)
    print("written", flush=True)
    time.sleep({pause})

filling.Rows.write = write_and_wait
run_command(cifar100.main, sys.argv[1:])
"""


def start(source, out, pause=60.0, limit=None):
    """The command in a process of its own, which stops for a while with everything written and nothing finished."""
    script = SCRIPT.format(tests=str(Path(__file__).parents[1]), each=EACH, pause=pause)
    return subprocess.Popen(
        [sys.executable, "-c", script, "--from", str(source), "--out", str(out), "--quiet", "--force"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )


def test_a_killed_preparation_leaves_the_earlier_file_and_no_rest_for_long(folder, tmp_path):
    out = tmp_path / "out"
    earlier = run(folder, out, "--image-size", "8").fingerprint
    process = start(folder, out)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert Dataset.open(out / "cifar100.h5").fingerprint == earlier
    assert len(left_in(out)) == 2
    assert run(folder, out, "--force").fingerprint != earlier
    assert left_in(out) == ["cifar100.h5"]


def test_a_preparation_killed_before_any_file_was_there_leaves_none(folder, tmp_path):
    process = start(folder, tmp_path / "out")
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.kill()
    process.communicate()
    assert not (tmp_path / "out" / "cifar100.h5").exists()
    run(folder, tmp_path / "out").verify()


def test_of_two_preparations_at_once_the_second_is_told(folder, tmp_path, capsys):
    process = start(folder, tmp_path / "out")
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(SystemExit) as exit_:
        run_command(cifar100.main, ["--from", str(folder), "--out", str(tmp_path / "out"), "--force"])
    assert exit_.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "another process is preparing cifar100" in line
    process.kill()
    process.communicate()


def test_a_full_disk_is_told_and_the_earlier_file_stays(folder, tmp_path):
    earlier = run(folder, tmp_path / "out", "--image-size", "8").fingerprint
    process = start(folder, tmp_path / "out", 0, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    [line] = errors.splitlines()
    assert line.startswith("error: cannot write")
    assert Dataset.open(tmp_path / "out" / "cifar100.h5").fingerprint == earlier
    assert left_in(tmp_path / "out") == ["cifar100.h5"]


@pytest.mark.usefixtures("small")
class TestFetching:
    """From a server on this machine, as from any other."""

    @pytest.fixture
    def address(self, tmp_path):
        write_zip(tmp_path / "served" / "images.zip", images())
        write_files(tmp_path / "served", {"page.zip": b"<!DOCTYPE html><html></html>"})
        handler = _quiet_handler(tmp_path / "served")
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/"
            server.shutdown()

    def recipe(self, *mirrors, known_hash=None):
        file = Download("images.zip", tuple(Mirror(mirror) for mirror in mirrors), known_hash)
        return dataclasses.replace(cifar100.RECIPE, downloads=((file,),))

    def hash_of(self, path):
        return "sha256:" + subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout[:64]

    def test_what_is_not_there_is_fetched_from_the_first_mirror_that_has_it(self, address, tmp_path):
        known = self.hash_of(tmp_path / "served" / "images.zip")
        recipe = self.recipe(address + "gone.zip", address + "page.zip", address + "images.zip", known_hash=known)
        prepare(recipe, Options(out=tmp_path / "out", quiet=True))
        dataset = Dataset.open(tmp_path / "out" / "cifar100.h5")
        assert dataset.sources["published"] is True
        shutil.rmtree(tmp_path / "served")
        prepare(recipe, Options(out=tmp_path / "out", quiet=True, force=True))

    def test_where_no_mirror_helps_the_way_by_hand_is_told(self, address, tmp_path):
        with pytest.raises(InputError) as error:
            prepare(self.recipe(address + "gone.zip", address + "page.zip"), Options(out=tmp_path / "out", quiet=True))
        told = str(error.value)
        for part in ("HTTP 404", "an HTML page", "By hand", "--from PATH", "cifar-100-python.tar.gz", "Terms:"):
            assert part in told
        assert left_in(tmp_path / "out") == []

    def test_a_published_file_of_another_hash_is_refused_unless_named(self, tmp_path):
        archive = write_zip(tmp_path / "out" / "downloads" / "cifar100" / "images.zip", images())
        recipe = self.recipe("http://127.0.0.1:9/", known_hash="md5:" + "0" * 32)
        with pytest.raises(InputError, match="is not the published file, whose hash is md5:0000"):
            prepare(recipe, Options(out=tmp_path / "out", quiet=True))
        prepare(recipe, Options(source=archive, out=tmp_path / "out", quiet=True))
        assert Dataset.open(tmp_path / "out" / "cifar100.h5").sources["published"] is False


def _quiet_handler(folder):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, format, *arguments):
            pass

    return Handler


def test_rows_in_any_order_arrive_in_their_places(tmp_path, monkeypatch):
    labels = [f"class{number}" for number in range(10)]
    truth = {
        f"{label}/{row}.png": pictures(1, 8, 10 * c + row)[0] for c, label in enumerate(labels) for row in range(7)
    }
    folder = write_files(tmp_path / "from", {name: encoded(image) for name, image in truth.items()})
    monkeypatch.setattr("data_prep.preparing.filling._BATCH_BYTES", 5 * 8 * 8 * 3)
    shuffled = np.random.Generator(np.random.Philox(5)).permutation(len(truth))
    original = image_folder.contents

    def contents(found, names):
        return lambda: (lambda all_: (all_[i] for i in shuffled))(list(original(found, names)()))

    monkeypatch.setattr(image_folder, "contents", contents)
    arguments = ["--from", str(folder), "--out", str(tmp_path), "--name", "own", "--image-size", "8", "--quiet"]
    image_folder.main(arguments)
    dataset = Dataset.open(tmp_path / "own.h5")
    for split in dataset.splits.values():
        for image, name in zip(split.images, split.file_names(), strict=True):
            np.testing.assert_array_equal(image, truth[name])
    with h5py.File(tmp_path / "own.h5") as file:
        assert file.attrs["name"] == "own"


def test_jobs_do_not_change_the_result(folder, tmp_path):
    one, many = (run(folder, tmp_path / jobs, "--jobs", jobs).fingerprint for jobs in ("1", "3"))
    assert one == many
    assert Options(jobs=0).threads == len(os.sched_getaffinity(0))
