"""`python -m benchmarks.predict`: folders in, a CSV file out."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks.predict import main
from benchmarks.run import main as run
from fewshot import load_learner
from fewshot.errors import InputError

TINY = (
    "--preset quick --way 3 --quiet --device cpu --learner.filters 4 --learner.hidden-size 4 --learner.inner-epochs 2"
    " --training.episodes 4 --training.validate-every 4 --training.validation-episodes 2 --test.episodes 2"
)


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learner")
    run([*TINY.split(), "--data", str(folder), "--results", str(folder / "runs")])
    (path,) = folder.rglob("best.safetensors")
    shutil.copy(path, folder / "mine.safetensors")
    return folder / "mine.safetensors"


@pytest.fixture
def folders(tmp_path):
    """Two images of each of three classes, and four images to be classified, of several sizes and formats."""
    generator = np.random.Generator(np.random.Philox(0))
    names = [f"support/{label}/{i}.png" for label in ("bee", "ant", "fly=1,x") for i in range(2)]
    names += ["query/a.png", "query/deep/b.jpg", "query/c.PNG", "query/z,1.bmp"]
    for place, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (20 + place, 30, 3), dtype=np.uint8)).save(path)
    for name in ("query/readme.txt", "query/.hidden.png", "support/bee/Thumbs.db"):
        (tmp_path / name).write_text("no image")
    return tmp_path


def predict(learner, folders, *extra):
    words = ["--support", str(folders / "support"), "--query", str(folders / "query")]
    main([str(learner), *words, "--out", str(folders / "out" / "answers.csv"), "--device", "cpu", *extra])
    return pd.read_csv(folders / "out" / "answers.csv")


def test_a_line_a_query_with_the_answers_of_the_learner(learner, folders, capsys):
    table = predict(learner, folders)
    assert table.columns.tolist() == ["file", "label", "probability", "p(ant)", "p(bee)", "p(fly=1,x)"]
    assert table["file"].tolist() == ["a.png", "c.PNG", "deep/b.jpg", "z,1.bmp"]
    support = [folders / "support" / label / f"{i}.png" for label in ("ant", "bee", "fly=1,x") for i in range(2)]
    answers = load_learner(learner).predict(
        support, ["ant", "ant", "bee", "bee", "fly=1,x", "fly=1,x"], [folders / "query" / n for n in table["file"]]
    )
    assert table["label"].tolist() == answers.labels
    np.testing.assert_allclose(table.iloc[:, 3:].to_numpy(), answers.probabilities.numpy(), rtol=1e-5)
    np.testing.assert_allclose(table["probability"], answers.probabilities.amax(1).numpy(), rtol=1e-5)
    assert torch.allclose(answers.probabilities.sum(1), torch.ones(4))
    assert "4 images classified from 6 labelled ones" in capsys.readouterr().out


def test_the_same_folders_give_the_same_file(learner, folders):
    predict(learner, folders)
    first = (folders / "out" / "answers.csv").read_bytes()
    predict(learner, folders)
    assert (folders / "out" / "answers.csv").read_bytes() == first


def absent(folders):
    shutil.rmtree(folders / "query")


def empty(folders):
    absent(folders)
    (folders / "query").mkdir()


def damaged(folders):
    (folders / "query" / "a.png").write_bytes(b"no image at all, though its name says so")


def too_few(folders):
    shutil.rmtree(folders / "support" / "bee")


def one_class(folders):
    too_few(folders)
    shutil.rmtree(folders / "support" / "ant")


def empty_class(folders):
    (folders / "support" / "bug").mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (absent, "query cannot be read .No such file"),
        (empty, "query holds no images; give a folder of those to be classified"),
        (damaged, "a.png is a damaged image or none"),
        (too_few, "way is 2, but this meta_lstm was meta-trained for 3 classes"),
        (one_class, "holds 1 folders; give a folder of images for each class"),
        (empty_class, "bug holds no images; give at least one of every class"),
    ],
)
def test_folders_that_cannot_be_used_are_refused_and_nothing_is_written(learner, folders, spoil, message):
    spoil(folders)
    with pytest.raises(InputError, match=message):
        predict(learner, folders)
    assert not (folders / "out").exists()


def test_options_are_said_by_name(learner, folders):
    with pytest.raises(InputError, match="--support, --query must be given; see --help"):
        main([str(learner)])
    with pytest.raises(InputError, match="learner, --query must be given"):
        main(["--support", str(folders)])
    with pytest.raises(InputError, match="there is no few-shot learner at"):
        predict(folders / "nothing.safetensors", folders)
