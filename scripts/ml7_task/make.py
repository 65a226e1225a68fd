"""Make a task for the small language model of seven languages: which of three continuations is a line's own.

    python scripts/ml7_task/make.py --to FOLDER [--text …/multilingual_text] [--parallel …/parallel_ntrex] [--model …/ml7]
    resect laser …/ml7 FOLDER/task.toml

The lines are those of valid.txt, which the model never saw. Each is divided near its middle: at a blank; in Chinese and Japanese, which
have none, after a punctuation mark, else anywhere. The choices are its continuation (its next words, or characters, until there are 4
tokens: with the whole second half so small a model is little better than chance) and those of two other lines of the same language and
split, with as many tokens. Tag: the language. Group: the news document of the line, the same one in all languages (identified by the line's
text in the parallel files), so that no story is in two splits; a line of another source is a group of its own. Scoring puts a blank before
every choice, in Chinese and Japanese too, where none belongs: before all three alike. Writes items.jsonl and task.toml; the texts' licences
hold for them, so they stay out of the repository. Reads only the tokenizer of the model's folder.
"""

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from resect.data.tasks.splits import split_of_group

LANGUAGES = ("en", "zh", "fr", "es", "vi", "id", "ja")
#: Languages that put no blanks between words.
UNBROKEN = ("zh", "ja")
SHARED = Path(__file__).resolve().parents[3] / "shared"
#: How long a line may be, in tokens: long enough to tell what it is about, short enough for a context of 128.
SHORTEST, LONGEST = 24, 90
#: A choice is the next words until it has so many tokens.
TOKENS = 4
PUNCTUATION = "，、。；：！？,;:"

TASK = """name = "ml7-continuation"
description = "Which of three continuations is the line's own? Seven languages."
data = "items.jsonl"
template = "<s>{{ beginning }}"        # the model's training opened every line by <s>, and its tokenizer puts none by itself
instructions = [""]
choices = "continuations"
gold = "gold"
group = "group"
tags = "language"
id = "id"
"""


@dataclass(frozen=True)
class Line:
    """A line up to its middle, and its continuation. `tokens`: how many the continuation has."""

    beginning: str
    continuation: str
    tokens: int
    group: str


def middle(text: str, language: str) -> int | None:
    """Where to divide a line: the good place nearest to its middle; None where it has none."""
    wanted, places = len(text) / 2, range(1, len(text))
    good = [place for place in places if text[place] == " "]
    if language in UNBROKEN:
        marks = [place for place in places if text[place - 1] in PUNCTUATION and abs(place - wanted) < len(text) / 4]
        good = marks or list(places)
    return min(good, key=lambda place: abs(place - wanted)) if good else None


def opening(text: str, language: str, count: Callable[[str], int]) -> tuple[str, int] | None:
    """The first words (or characters) of a text that make TOKENS tokens or more, and their tokens; None where it ends before that."""
    joint = "" if language in UNBROKEN else " "
    parts = list(text) if language in UNBROKEN else text.split()
    for taken in range(1, len(parts)):
        beginning = joint.join(parts[:taken]).strip()
        if (tokens := count(f" {beginning}")) >= TOKENS:
            return beginning, tokens
    return None


def lines_of(text: Path, language: str, documents: Mapping[str, str], count: Callable[[str], int]) -> list[Line]:
    """The lines of one language that have a good length, each text once."""
    lines = []
    for line in dict.fromkeys(map(str.strip, text.read_text(encoding="utf-8").splitlines())):
        place = middle(line, language) if SHORTEST <= count(line) <= LONGEST else None
        continuation = None if place is None else opening(line[place:].strip(), language, count)
        if continuation is None:
            continue
        group = f"document:{documents[line]}" if line in documents else f"{language}:{line}"
        lines.append(Line(line[:place].strip(), *continuation, group))
    return lines


def documents_of(parallel: Path, language: str) -> dict[str, str]:
    """The document of every news line, by its text."""
    names = (parallel / "document_ids.txt").read_text(encoding="utf-8").splitlines()
    texts = (parallel / f"{language}.txt").read_text(encoding="utf-8").splitlines()
    return {text.strip(): name for text, name in zip(texts, names, strict=True)}


def items(lines: Sequence[Line], language: str, wanted: int, source: random.Random) -> list[dict[str, Any]]:
    """At most `wanted` items; a line is left out where its split has no two others whose continuations have as many tokens."""
    alike: dict[tuple[str, int], set[str]] = defaultdict(set)
    for line in lines:
        alike[split_of_group(line.group), line.tokens].add(line.continuation)
    rows: list[dict[str, Any]] = []
    for line in source.sample(list(lines), len(lines)):
        others = sorted(alike[split_of_group(line.group), line.tokens] - {line.continuation})
        if len(others) < 2 or len(rows) == wanted:
            continue
        continuations = source.sample([line.continuation, *source.sample(others, 2)], 3)
        row = {"id": f"{language}-{len(rows)}", "language": language, "group": line.group, "beginning": line.beginning}
        rows.append({**row, "continuations": continuations, "gold": continuations.index(line.continuation)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, help="folder for items.jsonl and task.toml")
    parser.add_argument("--text", type=Path, default=SHARED / "data" / "multilingual_text")
    parser.add_argument("--parallel", type=Path, default=SHARED / "data" / "parallel_ntrex")
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "ml7", help="whose tokenizer counts")
    parser.add_argument("--items", type=int, default=150, help="items a language")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    count = lambda text: len(tokenizer(text, add_special_tokens=False).input_ids)
    options.to.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for language in LANGUAGES:
        documents = documents_of(options.parallel, language)
        lines = lines_of(options.text / language / "valid.txt", language, documents, count)
        drawn = items(lines, language, options.items, random.Random(f"{options.seed} {language}"))
        print(f"{language}: {len(drawn)} items of {len(lines)} lines")
        rows += drawn
    (options.to / "items.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    (options.to / "task.toml").write_text(TASK, encoding="utf-8")


if __name__ == "__main__":
    main()
