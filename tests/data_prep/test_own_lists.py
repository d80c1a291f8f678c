"""Lists beside the images are a split, or refused; never passed over."""

import json

import pytest
from miniature import encoded, pictures
from own import SPLIT_CLASSES, all_classes, classes, folder_of, images, prepare

from fewshot.errors import InputError

FLAT = {
    f"images/{split[:2]}_{label[-1]}_{row}.png": encoded(image)
    for number, (split, label) in enumerate((s, c) for s, labels in SPLIT_CLASSES.items() for c in sorted(labels))
    for row, image in enumerate(pictures(3, 12, 500 + number))
}
ROWS = {
    split: [(f"{label}_{row}.png", label) for label in sorted(labels) for row in range(3)]
    for split, labels in SPLIT_CLASSES.items()
}


def csv_text(rows, header="filename,label", separator=",", order=1, end="\n"):
    lines = [separator.join(row[::order]) for row in rows]
    return end.join([*([header] if header else []), *lines, ""])


def lists(ending="csv", encoding="utf-8", names=("train", "val", "test"), **form):
    return {
        f"{name}.{ending}": csv_text(rows, **form).encode(encoding)
        for name, rows in zip(names, ROWS.values(), strict=True)
    }


def json_lists(names=("base", "val", "novel")):
    files = {}
    for name, rows in zip(names, ROWS.values(), strict=True):
        labels = sorted({label for _, label in rows})
        content = {
            "label_names": labels,
            "image_names": [f"/home/someone/CUB/images/{file}" for file, _ in rows],
            "image_labels": [labels.index(label) for _, label in rows],
        }
        files[f"{name}.json"] = json.dumps(content).encode()
    return files


def by_class(rows):
    return {label: [file for file, own in rows if own == label] for _, label in rows}


FORMS = {
    "usual": lists(),
    "class_name,image_name": lists(header="class_name,image_name", order=-1),
    "no header": lists(header=""),
    "byte order mark": lists(encoding="utf-8-sig"),
    "UTF-16": lists(encoding="utf-16"),
    "UTF-16 without a mark": lists(encoding="utf-16-le"),
    "semicolons": lists(header="filename;label", separator=";"),
    "tabs": lists("tsv", header="filename\tlabel", separator="\t"),
    "CRLF": lists(end="\r\n"),
    "old Mac": lists(end="\r"),
    "other names": lists(names=("base", "valid", "novel")),
    "text": lists("txt", header="", separator=","),
    "blanks": lists("txt", header="", separator=" "),
    "paths": {n: d.replace(b"\ntr_", b"\nimages/tr_") for n, d in lists().items()},
    "Windows paths": {n: d.replace(b"\nte_", b"\nD:\\data\\images\\te_") for n, d in lists().items()},
    "no endings": {n: d.replace(b".png", b"") for n, d in lists().items()},
    "more columns": {
        n: b"id,filename,label,width\n" + b"".join(b"%d,%s,12\n" % (i, x) for i, x in enumerate(d.splitlines()[1:]))
        for n, d in lists().items()
    },
    "in a folder": {f"splits/{n}": d for n, d in lists().items()},
    "json": json_lists(),
    "json by class": {f"{s}.json": json.dumps(by_class(rows)).encode() for s, rows in ROWS.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_lists_of_every_kind_are_the_split(form, tmp_path, capsys):
    dataset = prepare(folder_of(tmp_path, FLAT | FORMS[form]), tmp_path)
    assert classes(dataset) == SPLIT_CLASSES
    assert set(all_classes(dataset).values()) == {3}
    for split in dataset.splits.values():
        for row, name in enumerate(split.file_names()):
            assert name.startswith(f"images/{split.class_names[row // 3]}_")
    told = capsys.readouterr().out
    assert f"split by the lists {', '.join(FORMS[form])}" in told
    assert "left out" not in told
    assert {file["name"] for file in dataset.sources["files"]} >= {name.rpartition("/")[2] for name in FORMS[form]}


def test_lists_of_class_names_split_class_folders(tmp_path):
    files = images(label for labels in SPLIT_CLASSES.values() for label in labels) | images(["unlisted"])
    lines = {f"{split}.txt": "\n".join(sorted(labels)).encode() for split, labels in SPLIT_CLASSES.items()}
    dataset = prepare(folder_of(tmp_path, files | lines), tmp_path)
    assert classes(dataset) == SPLIT_CLASSES
    assert dataset.sources["left_out"] == [
        {
            "extension": ".png",
            "reason": "its class is in none of the lists",
            "files": 3,
            "first": [f"unlisted/{row}.png" for row in range(3)],
        }
    ]


def test_one_list_gives_the_classes(tmp_path):
    rows = [row for own in ROWS.values() for row in own]
    folder = folder_of(tmp_path, FLAT | {"labels.csv": csv_text(rows).encode()})
    assert set(all_classes(prepare(folder, tmp_path))) == set().union(*SPLIT_CLASSES.values())
    rows = [(*row, "training" if split == "train" else split) for split, own in ROWS.items() for row in own]
    folder = folder_of(tmp_path / "b", FLAT | {"meta.csv": csv_text(rows, "file,label,split").encode()})
    assert classes(prepare(folder, tmp_path / "b")) == SPLIT_CLASSES


def test_images_in_no_list_are_counted(tmp_path, capsys):
    more = {"images/other.png": encoded(pictures(1, 12, 77)[0])}
    prepare(folder_of(tmp_path, FLAT | more | lists()), tmp_path)
    assert "left out: 1 .png file: in none of the lists (images/other.png)" in capsys.readouterr().out


def without(files, name):
    return {key: data for key, data in files.items() if key != name}


TWICE = lists()["test.csv"] + b"tr_a_0.png,te_a\n"
MOVED = lists()["test.csv"] + b"te_a_0.png,tr_a\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (without(lists(), "val.csv"), "no list of the val split"),
        (lists() | {"test.csv": MOVED}, "class tr_a is in the lists of train and test"),
        (lists() | {"test.csv": TWICE}, r"tr_a_0\.png is of class tr_a and of te_a"),
        (lists() | {"test.csv": b"filename,label\ngone.png,te_a\n"}, "names no image or class that is there"),
        (lists() | {"test.csv": lists()["test.csv"] + b"gone.png,te_a\n"}, r"1 images that are not there, 'gone\.png'"),
        (lists() | {"test.csv": lists()["test.csv"] + b"te_a_0.png\n"}, "rows of 2 and of 1 columns"),
        (lists() | {"test.csv": b""}, "lists nothing"),
        (lists() | {"test.csv": b"id,breed,sex\n1,2,3\n"}, "leave it out with --leave-out 'test.csv'"),
        (lists() | {"test.txt": lists()["test.csv"]}, "several lists of test"),
        (json_lists() | {"novel.json": b'{"a": 1}'}, "is no list of images"),
        (json_lists() | {"novel.json": b"<html>"}, "is no JSON"),
        (lists() | {"test.csv": b"\xff\xfe\x00\xd8\x00\xd8"}, "is no text"),
    ],
)
def test_lists_that_do_not_fit_are_refused(files, message, tmp_path):
    with pytest.raises(InputError, match=message):
        prepare(folder_of(tmp_path, FLAT | files), tmp_path)
    assert not list(tmp_path.glob("*.h5"))


def test_lists_beside_split_folders_must_agree(tmp_path, capsys):
    tree = {f"{split}/{label}/{file}": FLAT[f"images/{file}"] for split, rows in ROWS.items() for file, label in rows}
    assert classes(prepare(folder_of(tmp_path, tree | lists()), tmp_path)) == SPLIT_CLASSES
    assert "the lists train.csv, val.csv, test.csv agree with the folders" in capsys.readouterr().out
    swapped = {"val.csv": lists()["test.csv"], "test.csv": lists()["val.csv"]}
    with pytest.raises(
        InputError, match=r"in test by its folder and in val by a list|in val by its folder and in test by a list"
    ):
        prepare(folder_of(tmp_path, tree | lists() | swapped), tmp_path, "--force")


def test_lists_can_be_put_together_and_divided_anew(tmp_path):
    dataset = prepare(folder_of(tmp_path, FLAT | lists()), tmp_path, "--divide", "--val", "0.3", "--test", "0.3")
    assert set(all_classes(dataset)) == set().union(*SPLIT_CLASSES.values())
