"""`python -m benchmarks.run --evaluate`: a learner on other data, shots, queries and ways."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.reporting.read import load
from benchmarks.run import main
from benchmarks.running.record import read_record
from fewshot import load_learner
from fewshot.data.episodes import EpisodeSampler
from fewshot.data.fitting import fit
from fewshot.data.store import Dataset, writing
from fewshot.errors import InputError
from fewshot.learners.file import load_weights, read_learner_card, save_learner

TINY = [
    *("--dataset", "tiny", "--preset", "quick", "--way", "3", "--query", "4", "--quiet", "--device", "cpu"),
    *("--learner.filters", "4", "--learner.hidden-size", "4", "--learner.inner-epochs", "2"),
    *("--training.episodes", "10", "--training.validate-every", "10", "--training.validation-episodes", "5"),
    *("--test.episodes", "12"),
]


def write_dataset(path, size=16, channels=1, seed=0):
    """5 classes of 12 images a split, each a fixed pattern with noise."""
    generator = np.random.Generator(np.random.Philox(seed))
    with writing(path, path.stem, [], "none") as writer:
        for split in ("train", "val", "test"):
            writer.add_split(split, {f"{split}{c}": 12 for c in range(5)}, (size, size, channels))
            patterns = np.repeat(generator.integers(0, 200, (5, size, size, channels)), 12, axis=0)
            images = (patterns + generator.integers(0, 56, (60, size, size, channels))).astype(np.uint8)
            writer.write(split, 0, images, [f"{split}/{i}" for i in range(60)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with datasets `tiny`, and `large` in colour, and the runs of a plain and a smoothed learner of tiny."""
    folder = tmp_path_factory.mktemp("trained")
    write_dataset(folder / "data" / "tiny.h5")
    write_dataset(folder / "data" / "large.h5", size=20, channels=3, seed=1)
    for extra in ([], ["--smooth"]):
        main([*TINY, *places(folder), *extra])
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "work")
    return tmp_path / "work"


def places(folder):
    return ["--data", str(folder / "data"), "--results", str(folder / "runs")]


def weights(folder, regularizer="none"):
    (path,) = folder.glob(f"runs/meta_lstm-{regularizer}-tiny-3way-1shot-*/seed0/best.safetensors")
    return path


def evaluate(folder, *extra, regularizer="none"):
    """The record of `--evaluate` with these options."""
    before = set(folder.rglob("record.json"))
    main(["--evaluate", str(weights(folder, regularizer)), *places(folder), "--quiet", "--device", "cpu", *extra])
    (path,) = set(folder.rglob("record.json")) - before
    return read_record(path)


def test_on_its_own_test_episodes_a_learner_answers_as_in_its_run(folder):
    """Another way to the same numbers: through its file."""
    own = read_record(weights(folder).with_name("record.json"))
    again = evaluate(folder, "--test.episodes", "12")
    assert again.results.best.correct == own.results.best.correct
    assert again.facts.manifests["test"].sha256 == own.facts.manifests["test"].sha256
    assert again.facts.config["transfer"]["config_sha256"] == own.facts.config_sha256
    assert again.facts.training is None
    assert again.facts.meta_parameters == own.facts.meta_parameters


def test_other_data_shot_and_query(folder):
    """The counts are those of the learner on the same episodes, whose images are brought to its size one by one."""
    record = evaluate(folder, "--dataset", "large", "--shot", "2", "--query", "3", "--test.episodes", "5")
    assert record.facts.queries_per_episode == 9
    assert record.facts.dataset.name == "large"
    learner = load_weights(weights(folder))[0]
    sampler = EpisodeSampler(Dataset.open(folder / "data" / "large.h5")["test"], 3, 2, 3, seed=0)
    expected = []
    for index in range(5):
        episode = sampler[index]
        x = {name: small(getattr(episode, name)) for name in ("support_x", "query_x")}
        with torch.no_grad():
            logits = learner(dataclasses.replace(episode, **x)).logits
        expected.append(int((logits.argmax(1) == episode.query_y).sum()))
    assert record.results.best.correct == expected
    assert record.results.best == record.results.last


def small(images):
    return torch.cat([fit(image[None], 16, 1) for image in images])


def test_cross_domain_rows_have_a_source_and_stand_beside_their_partner(folder, capsys):
    options = ("--dataset", "large", "--test.episodes", "6")
    evaluate(folder, *options)
    capsys.readouterr()
    evaluate(folder, *options, regularizer="smooth")
    out = capsys.readouterr().out
    assert "tiny, 3-way 1-shot" in out
    assert "Few-shot learners tested on other data or shots" in out
    assert out.count("| large ") == 2
    rows = [row for row in load([folder / "runs"]) if row.source]
    plain, smooth = sorted(rows, key=lambda row: row.regularizer)
    assert plain.partner == smooth.partner
    assert plain.tested_on == smooth.tested_on
    assert {row.source for row in rows} == {"tiny, 3-way 1-shot"}
    assert len(load([folder / "runs"])) == 4


def test_seeds_of_one_source_share_a_row(folder):
    main([*TINY, *places(folder), "--seeds", "1"])
    (second,) = folder.glob("runs/meta_lstm-none-tiny-3way-1shot-*/seed1/best.safetensors")
    options = ["--dataset", "large", "--test.episodes", "6", "--quiet", "--device", "cpu"]
    for path in (weights(folder), second):
        main(["--evaluate", str(path), *places(folder), *options])
    (row,) = (row for row in load([folder / "runs"]) if row.source)
    assert sorted(row.values) == [0, 1]


def test_the_same_evaluation_again_shows_the_finished_one(folder, capsys):
    evaluate(folder, "--shot", "3", "--test.episodes", "4")
    main(["--evaluate", str(weights(folder)), *places(folder), "--shot", "3", "--test.episodes", "4", "--quiet"])
    assert "was finished before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--way", "4"), "way is 4, but this meta_lstm was meta-trained for 3 classes and its learned initial weights"),
        (("--smooth",), "whose file says what it is; leave --regularizer out"),
        (("--method", "sib"), "leave --method out"),
        (("--training.episodes", "5"), "leave --training.episodes out"),
        (("--learner.inner-epochs", "5"), "leave --learner.inner-epochs out"),
        (("--seeds", "1"), "--evaluate has one run; leave --seeds out"),
        (("--dataset", "nothing"), "unknown dataset 'nothing'"),
        (("--query", "30"), r"shot 1 \+ query 30 need 31 images a class"),
    ],
)
def test_what_cannot_be_tested_is_refused_before_any_work(folder, extra, message):
    before = set(folder.rglob("*"))
    with pytest.raises(InputError, match=message):
        main(["--evaluate", str(weights(folder)), *places(folder), "--quiet", "--device", "cpu", *extra])
    assert set(folder.rglob("*")) == before


def test_files_that_are_no_learners_are_refused(folder):
    for path, message in (
        (folder / "nothing.safetensors", "there is no few-shot learner at"),
        (folder / "data" / "tiny.h5", "is not a safetensors file"),
    ):
        with pytest.raises(InputError, match=message):
            main(["--evaluate", str(path), *places(folder)])


def test_a_dataset_of_other_images_under_the_learners_own_name_is_refused(folder):
    write_dataset(folder / "data" / "tiny.h5", seed=7)
    with pytest.raises(InputError, match="meta_lstm was trained on another version of tiny"):
        evaluate(folder)
    assert evaluate(folder, "--force").facts.status == "finished"


def test_the_card_says_what_it_was_trained_on_and_how(folder):
    card = read_learner_card(weights(folder, "smooth"))
    record = read_record(weights(folder, "smooth").with_name("record.json"))
    assert card.problem == "tiny, 3-way 1-shot"
    assert (card.image_size, card.channels, card.query, card.seed) == (16, 1, 4, 0)
    assert card.fingerprint == record.facts.dataset.fingerprint
    assert card.config_sha256 == record.facts.config_sha256
    assert card.regularizer == "smooth"
    assert card.penalty == record.facts.config["penalty"]
    assert card.validation == {"accuracy": record.facts.training.best_accuracy, "episodes": 5.0}
    assert "--dataset tiny --preset quick --way 3" in card.command
    assert "--regularizer smooth" in card.command
    assert str(folder) not in card.command


def test_last_and_best_learners_are_other_rows(folder):
    """Weights that differ are never taken for two seeds, or for one another."""
    best = weights(folder)
    learner, card = load_weights(best)
    moved = {name: value + 0.01 for name, value in learner.state_dict().items()}
    save_learner(best.with_name("last.safetensors"), moved, card)
    options = [*places(folder), "--dataset", "large", "--test.episodes", "4", "--quiet", "--device", "cpu"]
    for name in ("best", "last"):
        main(["--evaluate", str(best.with_name(f"{name}.safetensors")), *options])
    assert len([row for row in load([folder / "runs"]) if row.source]) == 2


def test_predictions_are_those_of_the_run(folder):
    """`load_learner` on the images of the test episodes gives the recorded numbers of correct answers."""
    own = read_record(weights(folder).with_name("record.json"))
    learner = load_learner(weights(folder))
    sampler = EpisodeSampler(Dataset.open(folder / "data" / "tiny.h5")["test"], 3, 1, 4, seed=0)
    correct = []
    for index in range(12):
        episode = sampler[index]
        answers = learner.predict(episode.support_x, episode.support_y, episode.query_x)
        correct.append(sum(a == b for a, b in zip(answers.labels, episode.query_y.tolist(), strict=True)))
    assert correct == own.results.best.correct


def test_a_source_file_is_found_from_anywhere(folder, tmp_path, monkeypatch):
    copy = tmp_path / "mine.safetensors"
    shutil.copy(weights(folder), copy)
    monkeypatch.chdir(tmp_path)
    main(["--evaluate", "mine.safetensors", *places(folder), "--test.episodes", "3", "--quiet", "--device", "cpu"])
    assert isinstance(load_learner("mine.safetensors").card.way, int)
    assert Path("mine.safetensors").is_file()
