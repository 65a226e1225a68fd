"""Discovery and proof of an anatomy: seconds and memory of configurations of seven billion parameters, dense and with experts.

Each is found and verified in a process of its own, with an empty cache and no weights of its size; beside it, what importing and building
a model of it on the meta device takes. Wanted: under 20 s of processor time and under 1 GiB. Exits with 1 where a bound does not hold.
"""

import argparse
import json
import os
import tempfile
import time
from typing import Any

import torch

from measurement import MIB, in_own_process, peak_memory

SECONDS, MEMORY = 20.0, 1024


def configurations() -> dict[str, Any]:
    """By name a configuration of about seven billion parameters that has no line in the table."""
    import transformers

    return {
        "olmo3, dense": transformers.Olmo3Config(
            hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=100352
        ),
        "cohere, dense": transformers.CohereConfig(
            hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=64000
        ),
        "olmoe, 8 of 64 experts": transformers.OlmoeConfig(),
    }


def measure(name: str) -> dict[str, Any]:
    """Returns the processor seconds and the peak of memory in MiB of one configuration."""
    from resect.edits.verify_anatomy import verify_anatomy
    from resect.models.anatomy import Anatomy
    from resect.models.discovery import kind_of

    torch.set_num_threads(1)
    config, start = configurations()[name], time.process_time()
    with torch.device("meta"):
        parameters = kind_of(config)[1].from_config(config).num_parameters()
    built = time.process_time()
    anatomy = Anatomy.of_config(config)
    found = time.process_time()
    verification = verify_anatomy(config)
    proved = time.process_time()
    return {
        "parameters": parameters,
        "seconds": {"build": built - start, "find": found - built, "prove": proved - found},
        "covered": anatomy.covered,
        "holds": verification.holds,
        "memory": peak_memory() // MIB,
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--one", metavar="NAME", help="Measure one configuration in this process, and print it as JSON.")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    holds = True
    for name in configurations():
        with tempfile.TemporaryDirectory() as cache:
            os.environ["RESECT_CACHE"] = cache
            result = in_own_process(__file__, "--one", name)
        seconds = result["seconds"]
        total = seconds["find"] + seconds["prove"]
        holds &= total < SECONDS and result["memory"] < MEMORY and result["holds"]
        print(
            f"{name}: {result['parameters'] / 1e9:.1f} billion parameters; built on meta in {seconds['build']:.1f} s, found in "
            f"{seconds['find']:.1f} s, proved in {seconds['prove']:.1f} s (wanted: both under {SECONDS:g} s), peak {result['memory']} MiB "
            f"(wanted: under {MEMORY}); covered {100 * result['covered']:.1f} %, laws {'hold' if result['holds'] else 'FAIL'}"
        )
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
