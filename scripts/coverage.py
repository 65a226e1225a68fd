#!/usr/bin/env python3
"""Which text models are covered: every model type of the installed transformers, through discovery and `resect anatomy --verify`.

    python scripts/coverage.py [TYPE…] [--output FILE.json] [--seconds N]

Each type is built from its own default configuration, on a CPU and small. Prints a table: type, kind, share of the parameters of its
blocks' matrices that are at sites, the proved roles, the matrices without a role, the laws that fail, or the reason for the refusal. Each
type has a process of its own, which is ended after so many seconds. Run it once after an update of transformers; no test does.
"""

import argparse
import json
import multiprocessing
import queue
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def text_types() -> list[str]:
    """Returns every model type with a class for causal, sequence-to-sequence or masked language modelling."""
    from transformers.models.auto import modeling_auto

    mappings = (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )
    return sorted({name for mapping in mappings for name in mapping})


def examine(name: str, results: Any) -> None:
    """Puts what was found of a type into a queue."""
    import torch
    import transformers

    from resect.core.errors import ResectError
    from resect.edits.verify_anatomy import verify_anatomy
    from resect.models.anatomy import Anatomy

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    try:
        config = transformers.CONFIG_MAPPING[name]()
        anatomy = Anatomy.of_config(config)
        verified = verify_anatomy(config)
        found = {"kind": anatomy.kind, "discovered": not anatomy.is_listed, "cannot": list(anatomy.not_covered)}
        results.put({"type": name, **found, **verified.to_json()})
    except ResectError as error:
        results.put({"type": name, "refused": type(error).__name__, "reason": str(error)})
    except Exception as error:  # noqa: BLE001 - the configuration of a type that does not even build by default
        results.put({"type": name, "refused": "Error", "reason": f"{type(error).__name__}: {str(error)[:300]}"})


def examined(names: Iterable[str], seconds: float) -> Iterable[dict[str, Any]]:
    """Yields what was found of each type."""
    for name in names:
        results: Any = multiprocessing.Queue()
        process = multiprocessing.Process(target=examine, args=(name, results))
        process.start()
        try:
            yield results.get(timeout=seconds)
        except queue.Empty:
            yield {"type": name, "refused": "Time", "reason": f"It took more than {seconds:g} seconds."}
        process.terminate()
        process.join()


def row(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns a line of the table."""
    if "refused" in found:
        return found["type"], "–", "–", f"{found['refused']}: {found['reason'][:160]}"
    roles = "; ".join(f"{stack}: {' '.join(names) or '–'}" for stack, names in found["roles"].items())
    paths = "; ".join(" ".join(names) for names in found["paths"].values() if names)
    failed = [f"{name} fails at {law['failed'][0]}" for name, law in found["laws"].items() if law["failed"]]
    return found["type"], found["kind"], f"{100 * found['covered']:.1f} %", "\n".join(filter(None, [roles, paths, *failed]))


def summary(found: Iterable[Mapping[str, Any]]) -> str:
    """Returns the counts."""
    every = list(found)
    covered = [each for each in every if "refused" not in each]
    proved = [each for each in covered if each["holds"]]
    nearly = [each for each in proved if each["covered"] >= 0.95]
    named = [each for each in proved if not any(each["paths"].values())]
    refused: dict[str, int] = {}
    for each in every:
        if "refused" in each:
            refused[each["refused"]] = refused.get(each["refused"], 0) + 1
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(refused.items()))
    return (
        f"{len(covered)} of {len(every)} types are covered; all laws hold in {len(proved)}, {len(nearly)} of these with 95 % of the "
        f"parameters or more, {len(named)} with a role for every matrix. Refused: {reasons or 'none'}."
    )


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("types", nargs="*", metavar="TYPE", help="Model types; all text types by default.")
    parser.add_argument("--output", type=Path, default=None, metavar="FILE", help="Write everything that was found as JSON.")
    parser.add_argument("--seconds", type=float, default=120.0, metavar="N", help="Most seconds for one type (default: 120).")
    options = parser.parse_args()
    import resect.edits.verify_anatomy  # noqa: F401 - imported once, before the processes are made

    console, found = Console(), []
    table = Table("type", "kind", "covered", "proved, without a role, or why not", box=box.SIMPLE)
    for each in examined(options.types or text_types(), options.seconds):
        found.append(each)
        table.add_row(*row(each))
        console.print(f"{len(found)}: {' | '.join(row(each))}", highlight=False, markup=False, soft_wrap=True)
        if options.output is not None:
            options.output.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
    console.print(table)
    console.print(summary(found))


if __name__ == "__main__":
    main()
