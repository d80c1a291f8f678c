"""`python -m benchmarks.run` with methods on a frozen backbone's features, and with MAML."""

import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks import pretrain
from benchmarks.few_shot import experiment
from benchmarks.few_shot.command import parse
from benchmarks.run import main
from benchmarks.running.record import read_record
from fewshot.data.store import writing
from fewshot.engine.few_shot import MetaTrainer
from fewshot.errors import InputError

SMALL = [
    *("--dataset", "tiny", "--preset", "quick", "--way", "3", "--query", "4", "--quiet", "--device", "cpu"),
    *("--training.episodes", "30", "--training.validate-every", "10", "--training.validation-episodes", "40"),
    *("--test.episodes", "40"),
]


def write_dataset(path, size=16, seed=0):
    """5 classes of 12 images a split, each a fixed pattern under strong noise."""
    generator = np.random.Generator(np.random.Philox(seed))
    with writing(path, "tiny", [], "none") as writer:
        for split in ("train", "val", "test"):
            writer.add_split(split, {f"{split}{c}": 12 for c in range(5)}, (size, size, 1))
            patterns = np.repeat(generator.integers(0, 60, (5, size, size, 1)), 12, axis=0)
            images = (patterns + generator.integers(0, 190, (60, size, size, 1))).astype(np.uint8)
            writer.write(split, 0, images, [f"{split}/{i}" for i in range(60)])
    return path


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """The path of a Conv4-64 that was pre-trained for an epoch on the dataset."""
    folder = tmp_path_factory.mktemp("backbone")
    write_dataset(folder / "tiny.h5")
    options = (
        "--training.epochs",
        "1",
        "--training.warmup-epochs",
        "0",
        "--training.milestones",
        "1",
        "--training.pad",
        "2",
    )
    sizes = ("--training.batch-size", "20", "--training.validation-episodes", "5", "--training.validation-query", "5")
    where = ("--data", str(folder), "--results", str(folder), "--quiet", "--device", "cpu")
    pretrain.main(["--dataset", "tiny", "--backbone", "conv4_64", "--preset", "quick", *options, *sizes, *where])
    (path,) = folder.rglob("best.safetensors")
    return path


@pytest.fixture
def folders(tmp_path):
    write_dataset(tmp_path / "data" / "tiny.h5")
    return [word for name in ("data", "results", "features") for word in (f"--{name}", str(tmp_path / name))]


@pytest.fixture
def sib(folders, backbone):
    return ["--method", "sib", *SMALL, *folders, "--learner.backbone", str(backbone)]


def records(arguments):
    results = Path(arguments[arguments.index("--results") + 1])
    return [read_record(path) for path in sorted(results.rglob("record.json"))]


def test_sib_smoothed_beside_plain_and_its_start(sib, folders, backbone, capsys):
    for extra in ([], ["--smooth"], ["--learner.steps", "0"]):
        main([*sib, *extra])
    main(["--method", "protonet", *SMALL, *folders, "--learner.backbone", str(backbone)])
    assert "| protonet " in capsys.readouterr().out
    found = {(r.facts.config["method"], r.facts.config["regularizer"], r.facts.transductive): r for r in records(sib)}
    assert set(found) == {
        ("sib", "none", True), ("sib", "smooth", True), ("sib", "none", False), ("protonet", "none", False),
    }  # fmt: skip
    assert len({r.facts.manifests["test"].sha256 for r in found.values()}) == 1
    for record in found.values():
        assert record.facts.status == "finished"
        assert len(record.results.best.correct) == 40
        described = record.facts.backbone
        assert len(described.sha256) == 64
        assert (described.name, described.dataset) == ("conv4_64", "tiny")
    plain, smooth = found["sib", "none", True], found["sib", "smooth", True]
    assert smooth.facts.config["penalty"]["radius"] > 0
    assert smooth.details.curve[0]["penalty"] > 0 == plain.details.curve[0]["penalty"]
    assert smooth.details.curve != plain.details.curve


def test_a_plain_and_a_smoothed_run_make_a_table_with_t(sib, capsys):
    main(sib)
    capsys.readouterr()
    main([*sib, "--smooth"])
    printed = capsys.readouterr().out
    assert "difference" in printed
    assert printed.count("sib (T)") == 2


def test_views_are_drawn_from_in_meta_training_only(sib):
    main(sib)
    main([*sib, "--learner.views", "2"])
    plain, views = sorted(records(sib), key=lambda r: r.facts.config["learner"]["views"])
    assert plain.details.curve != views.details.curve
    assert plain.facts.manifests == views.facts.manifests
    assert len(list(Path(sib[sib.index("--features") + 1]).glob("*.h5"))) == 2


def test_a_checkpoint_for_another_number_of_classes_is_refused(sib):
    main(sib)
    other = [*sib, "--way", "2"]
    command = parse(other)
    folder = command.results / command.config.run_name() / "seed0"
    folder.mkdir(parents=True)
    (checkpoint,) = command.results.rglob("checkpoint.pt")
    shutil.copy(checkpoint, folder)
    with pytest.raises(InputError, match=r"made with another number of classes \(way\) .*start over with --fresh"):
        main(other)


@pytest.mark.parametrize("stop", [7, 20])
def test_an_interrupted_run_ends_with_the_same_bits(sib, tmp_path, stop, monkeypatch):
    arguments = [*sib, "--smooth", "--checkpoint-seconds", "1e-9"]
    undisturbed = [*arguments, "--results", str(tmp_path / "undisturbed")]
    main(undisturbed)
    step = MetaTrainer._step

    def until(self, index):
        if index == stop:
            raise KeyboardInterrupt
        return step(self, index)

    monkeypatch.setattr(MetaTrainer, "_step", until)
    with pytest.raises(KeyboardInterrupt):
        main(arguments)
    monkeypatch.undo()
    main(arguments)
    (first,), results = records(["--results", str(tmp_path / "undisturbed")]), tmp_path / "results"
    (second,) = records(["--results", str(results)])
    assert second.measured.interruptions == 1
    assert first.digest == second.digest
    for model in ("best", "last"):
        (one,), (other,) = (f.rglob(f"{model}.safetensors") for f in (tmp_path / "undisturbed", results))
        assert one.read_bytes() == other.read_bytes()


def test_several_episodes_a_step(sib):
    main([*sib, "--training.episodes-per-step", "5"])
    (record,) = records(sib)
    assert record.facts.training.episode == 30
    assert [v["episode"] for v in record.details.validation] == [10, 20, 30]
    with pytest.raises(InputError, match=r"training.validate_every is 10; it must be a multiple .* 4"):
        main([*sib, "--training.episodes-per-step", "4", "--training.episodes", "40"])
    with pytest.raises(InputError, match="takes one episode a step"):
        main(["--method", "maml", *[a for a in sib[2:] if a not in sib[-2:]], "--training.episodes-per-step", "2"])


def test_the_embedded_dataset_pre_trains_its_backbone_on_first_use(tmp_path, backbone, monkeypatch):
    asked = []

    def ensure(dataset, name, **options):
        asked.append((dataset.name, name, options["results"]))
        return backbone

    monkeypatch.setattr(experiment, "ensure", ensure)
    write_dataset(tmp_path / "tiny.h5")
    where = ["--data", str(tmp_path), "--results", str(tmp_path), "--features", str(tmp_path / "features")]
    main(["--method", "sib", *SMALL, *where, "--backbones", str(tmp_path / "nets")])
    assert asked == [("tiny", "conv4_64", tmp_path / "nets")]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--learner.backbone", "vgg"], "vgg"),
        (["--learner.backbone", "resnet12"], "python -m benchmarks.pretrain --dataset tiny --backbone resnet12"),
        (["--normalize"], "normalize and training.augment have no effect on method sib"),
        (["--training.augment"], "normalize and training.augment have no effect on method sib"),
        (["--way", "6"], "way 6: split 'train' has only 5 classes"),
        (["--learner.steps", "-1"], "learner.steps is -1"),
        (["--smooth", "--penalty.columns", "gradient"], "default, all, scores"),
    ],
)
def test_refusals_come_before_any_work(sib, tmp_path, extra, message):
    with pytest.raises(InputError, match=message):
        main([*sib, *extra])
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("method", ["protonet", "maml"])
def test_methods_without_a_neural_optimizer_refuse_regularizers(folders, method):
    with pytest.raises(InputError, match=f"method {method} has no neural optimizer .*meta_lstm, sib"):
        main(["--method", method, *SMALL, *folders, "--smooth"])


def test_a_backbone_for_other_images_is_refused(tmp_path, sib):
    write_dataset(tmp_path / "data" / "tiny.h5", size=20)
    with pytest.raises(InputError, match="trained on images of 16×16 in gray, those of tiny are 20×20 in gray"):
        main(sib)


def test_a_backbone_of_another_version_of_the_dataset_is_refused_unless_forced(tmp_path, sib):
    write_dataset(tmp_path / "data" / "tiny.h5", seed=1)
    with pytest.raises(InputError, match="trained on another version of tiny"):
        main(sib)
    main([*sib, "--force"])
    assert records(sib)[0].facts.status == "finished"


def test_a_finished_run_with_other_weights_is_not_shown(tmp_path, sib, backbone):
    copy = tmp_path / "backbone.safetensors"
    copy.write_bytes(backbone.read_bytes())
    arguments = [*sib, "--learner.backbone", str(copy)]
    main(arguments)
    last = backbone.with_name("last.safetensors")
    from fewshot.backbones.file import load_backbone, save_backbone

    net, info = load_backbone(last)
    with torch.no_grad():
        next(net.parameters()).mul_(1.5)
    save_backbone(copy, net.state_dict(), info)
    with pytest.raises(InputError, match="made with other weights of conv4_64; run again with --fresh"):
        main(arguments)
    main([*arguments, "--fresh"])


def test_trained_weights_are_tied_to_the_number_of_classes(sib, tmp_path):
    """φ has one input a class; safetensors hold nothing but tensors."""
    main(sib)
    (path,) = (tmp_path / "results").rglob("best.safetensors")
    from fewshot.learners import METHODS
    from fewshot.learners.sib import SIBOptions
    from fewshot.regularizers import Regularizer

    build = METHODS["sib"].build
    fits, other = (build(64, 1, n, SIBOptions(), Regularizer(), torch.Generator().manual_seed(0)) for n in (3, 4))
    fits.load_state_dict(load_file(path))
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(load_file(path))


def test_a_damaged_feature_cache_is_made_again(sib, tmp_path):
    main(sib)
    (cache,) = (tmp_path / "features").glob("*.h5")
    good = records(sib)[0].digest
    with h5py.File(cache, "r+") as file:
        file["test/features"][...] = 0
        file.attrs["key"] = "0" * 64
    main([*sib, "--fresh"])
    assert records(sib)[0].digest == good


def test_maml_runs_beside_them(folders):
    pytest.importorskip("fewshot.vision")
    main(["--method", "maml", *SMALL, *folders, "--training.episodes", "10"])
    (record,) = records(folders)
    assert (record.facts.status, record.facts.transductive, record.facts.backbone) == ("finished", True, None)
    assert record.details.curve[0]["gradient_norm"] > 0


def test_without_learn2learn_maml_tells_how_to_get_it(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    with pytest.raises(InputError, match=r"learn2learn cannot be imported .*make setup"):
        main(["--method", "maml", *SMALL, *folders])
