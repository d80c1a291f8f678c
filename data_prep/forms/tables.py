"""Lists of images as people write them: CSV with any separator, text, JSON; in any usual encoding."""

from __future__ import annotations

import codecs
import csv
import json
import re
from typing import Any

from data_prep.formats.sources import Source
from fewshot.errors import InputError

ENDINGS = (".csv", ".tsv", ".txt", ".lst", ".json")
_SEPARATORS = (",", ";", "\t", "|")
_LARGEST = 1 << 28
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_table(source: Source) -> list[list[str]]:
    """The rows of a list, its header among them where it has one; all of one length, blank lines left out.

    JSON: `{label_names, image_names, image_labels}` (Chen et al. 2019), `{class: [image, …]}`, or a list of objects.

    Raises:
        InputError: where it is no list of that kind.
    """
    text = decoded(source)
    rows = _from_json(text, source) if source.name.lower().endswith(".json") else _from_lines(text)
    if not rows:
        raise InputError(f"{source.label} lists nothing; fill it or leave it out with --leave-out")
    if len({len(row) for row in rows}) > 1:
        odd = next(row for row in rows if len(row) != len(rows[0]))
        raise InputError(
            f"{source.label} has rows of {len(rows[0])} and of {len(odd)} columns ({' | '.join(odd)[:60]}); mend it, or"
            " leave it out with --leave-out"
        )
    return rows


def decoded(source: Source) -> str:
    """The text of a file, whatever of the usual encodings it has.

    Raises:
        InputError: where it is no text.
    """
    data = source.read(_LARGEST)
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decode(data[len(mark) :], encoding, source)
    if b"\0" in data[:200]:
        return _decode(data, "utf-16-le" if data[1:2] == b"\0" else "utf-16-be", source)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _decode(data, "cp1252", source)


def _decode(data: bytes, encoding: str, source: Source) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(f"{source.label} is no text in UTF-8, UTF-16 or Windows-1252; save it as UTF-8") from error


def _from_lines(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.strip()]
    separator = next((one for one in _SEPARATORS if 2 * sum(one in line for line in lines) > len(lines)), None)
    try:
        if separator:
            rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
        else:
            rows = [_by_blanks(line) for line in lines]
            if len({len(row) for row in rows}) > 1:
                rows = [[line] for line in lines]
    except csv.Error:
        return []
    return [[cell.strip() for cell in row] for row in rows]


def _by_blanks(line: str) -> list[str]:
    """`path/to/an image.jpg 17`, or `image.jpg cat`, is a name and a class; other lines are one name."""
    match = re.fullmatch(r"(.*\.[A-Za-z]{2,5})\s+(\S.*)|(.*\S)\s+(\d+)", line.strip())
    return [line] if match is None else [match[1] or match[3], match[2] or match[4]]


def _from_json(text: str, source: Source) -> list[list[str]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source.label} is no JSON; mend it, or leave it out with --leave-out") from error
    rows = _rows(content)
    if rows is None:
        raise InputError(
            f"{source.label} is no list of images (label_names, image_names and image_labels, or a list of images for"
            " each class); leave it out with --leave-out"
        )
    return rows


def _rows(content: Any) -> list[list[str]] | None:
    if isinstance(content, dict) and {"image_names", "image_labels"} <= set(content):
        names, labels = content["image_names"], content["image_labels"]
        meaning = content.get("label_names", [])
        if not all(isinstance(part, list) for part in (names, labels, meaning)) or len(names) != len(labels):
            return None
        known = dict(enumerate(meaning))
        return [
            ["filename", "label"],
            *([str(n), str(known.get(_number(x), x))] for n, x in zip(names, labels, strict=True)),
        ]
    if isinstance(content, dict) and content and all(isinstance(images, list) for images in content.values()):
        return [["filename", "label"], *([str(image), label] for label, images in content.items() for image in images)]
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        header = list(content[0])
        return [header, *([str(row.get(key, "")) for key in header] for row in content)]
    return None


def _number(value: Any) -> int:
    """A label as a place in the list of names."""
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdigit()) else -1
