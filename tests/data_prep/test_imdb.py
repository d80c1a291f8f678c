"""The reviews of IMDB, few but in the published form."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from miniature import shrink, tar_bytes, write_files

from data_prep import imdb, verify
from data_prep.preparing.words import PADDING, UNKNOWN, words_of
from fewshot.data.catalog import open_dataset
from fewshot.data.store import Dataset, TokenSplit
from fewshot.errors import InputError
from fewshot.general.examples import prepared

TRAIN = {
    "neg/2_1.txt": "A bad film.<br /><br />A BAD, bad film!",
    "neg/10_3.txt": "Boring; it's not good.",
    "pos/0_9.txt": "A good film. Good fun, café scenes too",
    "pos/1_10.txt": "good good good " * 5,
}
TEST = {
    "neg/0_2.txt": "zebra " * 30 + "bad",
    "neg/1_1.txt": "",
    "pos/0_8.txt": "Zebra zebra zebra: a good film",
    "pos/1_7.txt": "A bad film.<br /><br />A BAD, bad film!",
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, "imdb", {split: {"neg": 2, "pos": 2} for split in ("train", "test")})


def files() -> dict[str, bytes]:
    """In an order of no use, as in the archive."""
    reviews = {f"aclImdb/test/{name}": text for name, text in reversed(TEST.items())}
    reviews |= {f"aclImdb/train/{name}": text for name, text in TRAIN.items()}
    others = {"aclImdb/imdb.vocab": b"the\n", "aclImdb/train/unsup/0_0.txt": b"film film", "aclImdb/README": b"-"}
    return others | {name: text.encode() for name, text in reviews.items()}


def prepare(folder: Path, *words: str) -> Dataset:
    archive = folder / "aclImdb_v1.tar.gz"
    archive.write_bytes(tar_bytes(files(), "w:gz"))
    imdb.main(["--from", str(archive), "--out", str(folder), "--quiet", "--length", "7", *words])
    return open_dataset("imdb", folder, kind=TokenSplit)


def test_words() -> None:
    assert words_of("It's GOOD<br/>--really_good; 'quoted' 10/10 café") == [
        "it's", "good", "really", "good", "quoted", "10", "10", "café"
    ]  # fmt: skip


def test_reviews_are_numbers_of_training_words(tmp_path: Path) -> None:
    dataset = prepare(tmp_path)
    vocabulary = dataset.vocabulary()
    counts = Counter(word for text in TRAIN.values() for word in words_of(text))
    assert vocabulary[:2] == [PADDING, UNKNOWN]
    assert vocabulary[2:] == sorted(counts, key=lambda word: (-counts[word], word))
    assert "zebra" not in vocabulary, "only training reviews make the vocabulary"
    for split, texts in (("train", TRAIN), ("test", TEST)):
        stored = dataset[split]
        assert stored.class_names == ["neg", "pos"]
        assert list(stored.class_sizes) == [2, 2]
        names = [name.partition(f"{split}/")[2] for name in stored.file_names()]
        assert names == list(texts), "by class, then by number: 2 before 10"
        for row, text in zip(stored.read(np.arange(4)), texts.values(), strict=True):
            words = [word if word in counts else UNKNOWN for word in words_of(text)][:7]
            assert [vocabulary[number] for number in row] == words + [PADDING] * (7 - len(words))


def test_a_small_vocabulary_keeps_frequent_words(tmp_path: Path) -> None:
    dataset = prepare(tmp_path, "--vocabulary", "4")
    assert dataset.vocabulary() == [PADDING, UNKNOWN, "good", "a"]
    assert set(dataset["train"].read(np.arange(4)).ravel().tolist()) == {0, 1, 2, 3}


def test_a_folder_and_an_archive_give_the_same(tmp_path: Path) -> None:
    one = prepare(tmp_path)
    other = tmp_path / "other"
    folder = write_files(other / "from", files())
    imdb.main(["--from", str(folder), "--out", str(other), "--quiet", "--length", "7"])
    assert Dataset.open(other / "imdb.h5").fingerprint == one.fingerprint
    one.verify()


def test_command_tells_identical_texts_and_keeps_a_finished_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = prepare(tmp_path)
    told = capsys.readouterr().out
    assert "train 2 classes / 4 texts, test 2 classes / 4 texts" in told
    assert "note: 1 texts are identical to another one" in told
    assert dataset.sources["identical_texts"] == 1
    prepare(tmp_path)
    assert "is there already" in capsys.readouterr().out
    verify.main(["imdb", "--out", str(tmp_path)])
    told = capsys.readouterr().out
    assert "test   2 classes  4 texts of 7  2 to 2 a class" in told
    assert "is sound, as published (small)" in told
    assert "words: good, a, bad, film" in told


def test_dry_run_tells_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_files(tmp_path / "from", files())
    imdb.main(["--from", str(folder), "--out", str(tmp_path / "out"), "--dry-run", "--quiet"])
    told = capsys.readouterr().out
    assert "texts: first 200 words" in told
    assert not (tmp_path / "out").exists()
    imdb.main(["--out", str(tmp_path / "out"), "--dry-run", "--quiet"])
    assert "would fetch" in capsys.readouterr().out


def test_validation_comes_from_the_training_half(tmp_path: Path) -> None:
    dataset = prepare(tmp_path)
    examples = prepared("imdb", tmp_path, 1, torch.device("cpu"))
    assert examples.sizes() == {"train": 3, "val": 1, "test": 4}
    assert examples.vocabulary == len(dataset.vocabulary())
    own = torch.cat([examples.parts["train"].inputs, examples.parts["val"].inputs]).tolist()
    assert sorted(own) == sorted(dataset["train"].read(np.arange(4)).tolist())
    assert examples.parts["test"].inputs.tolist() == dataset["test"].read(np.arange(4)).tolist()
    assert examples.parts["test"].labels.tolist() == [0, 0, 1, 1]


def test_texts_are_refused_where_images_are_wanted(tmp_path: Path) -> None:
    prepare(tmp_path)
    with pytest.raises(InputError, match="holds tokens, not images"):
        open_dataset("imdb", tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vocabulary", "2"], "--vocabulary 2 is out of range"),
        (["--vocabulary", "70000"], "--vocabulary 70000 is out of range"),
        (["--length", "0"], "--length 0 is out of range"),
        (["--from", "/nowhere"], "--from /nowhere does not exist"),
    ],
)
def test_options_are_checked(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        imdb.main([*words, "--out", str(tmp_path)])


def test_incomplete_and_dangerous_archives_are_refused(tmp_path: Path) -> None:
    half = write_files(tmp_path / "half", {k: v for k, v in files().items() if "test/pos" not in k})
    with pytest.raises(InputError, match="no reviews in test/pos"):
        imdb.main(["--from", str(half), "--out", str(tmp_path)])
    fewer = write_files(tmp_path / "fewer", {k: v for k, v in files().items() if "0_9" not in k})
    with pytest.raises(InputError, match=r"1 texts of class pos, not 2; get the missing files$"):
        imdb.main(["--from", str(fewer), "--out", str(tmp_path)])
    buffer = io.BytesIO(tar_bytes(files()))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        link = tarfile.TarInfo("aclImdb/train/pos/5_9.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / "link.tar").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="a link, a device or sparse"):
        imdb.main(["--from", str(tmp_path / "link.tar"), "--out", str(tmp_path)])
    assert not (tmp_path / "imdb.h5").exists()
