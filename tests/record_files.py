"""Writes files of records in every format that resect reads, and checks laws of the tasks that are made of them."""

import csv
import json

import datasets

from resect.data.tasks.splits import SHARES


def write(path, content):
    """Write rows (of .json: any value) in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        datasets.Dataset.from_list(content).to_parquet(str(path))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            table = csv.DictWriter(file, list(content[0]))
            table.writeheader()
            table.writerows(content)
    elif path.suffix == ".tsv":
        lines = ["\t".join(content[0]), *("\t".join(map(str, row.values())) for row in content)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        path.write_text(json.dumps(content), encoding="utf-8")
    return path


def assert_no_group_is_in_two_splits(task):
    groups = [{example.group for example in task.split(name)} for name in SHARES]
    assert all(groups) and sum(map(len, groups)) == len(set.union(*groups))
