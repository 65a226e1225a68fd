#!/usr/bin/env python3
"""Which text models are covered: every model type of the installed transformers, through discovery and `resect anatomy --verify`.

    python scripts/coverage.py [TYPE…] [--sample N] [--output FILE.json] [--markdown FILE.md] [--seconds N] [--fresh]

Each type is built from its own default configuration (`SETTINGS` has what some lack), on a CPU and small, in a process of its own that is
ended after so many seconds. Prints a line for each type: its kind, the share of the parameters of its blocks' matrices that are at sites,
the proved roles, the matrices without a role, the laws that fail, or the reason for the refusal. An output that exists is continued: types
that this version of transformers was examined with are not examined again, unless --fresh is given.
"""

import argparse
import hashlib
import json
import multiprocessing
import queue
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
_INDEXER = {"n_heads": 4, "kv_heads": 1, "head_dim": 256, "budget": 2048, "compress_ratio": 4}
#: What the default configurations of some types lack, so that no model can be built from them.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "dbrx": {"attn_config": {"rope_theta": 10_000.0, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "esm": {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 8, "moe_topk": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 16},
    "ministral": {"head_dim": 128},
    "nemotron": {"num_key_value_heads": 8},
    "qwen4_exp_text": {f"indexer_{name}": value for name, value in _INDEXER.items()},
    "xmod": {"default_language": "en_XX"},
}

#: Types that take longer than the others; a sample has none of them.
_LONG = (
    "afmoe arcee aria_text audioflamingo3 axk1 axk2 bailing_hybrid bamba beam blenderbot blenderbot-small blt codegen cohere2 "
    "cohere2_moe cpmant cwm deepseek_v3 deepseek_v32 deepseek_v4 dots1 encoder-decoder ernie4_5_moe esmc exaone_moe falcon_h1 "
    "flex_olmo flint fuyu gemma3n_text gemma4 gemma4_text gemma4_unified gemma4_unified_text glm glm4_moe glm4_moe_lite glm_moe_dsa "
    "glmasr gpt_neox_japanese gpt_oss granite_speech granite_speech_plus granitemoe granitemoehybrid hy_v3 hy_v4 inkling2_text "
    "inkling_text iquestcoder jamba kimi_linear kolibri1 laguna led lfm3 llama4 llama4_text longformer longt5 marian mimo_v2_flash "
    "minimax minimax_m2 minimax_m3_vl_text modernbert-decoder modernvbert neomme olmo_hybrid pegasus_x perceiver phi4_multimodal "
    "prophetnet qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_next seamless_m4t_v2 t5gemma2 ultravbert vibevoice_asr voxtral xlstm "
    "zamba zamba2 zaya "
)


def text_types() -> list[str]:
    """Returns every model type with a class for causal, sequence-to-sequence or masked language modelling."""
    from transformers.models.auto import modeling_auto

    mappings = (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )
    return sorted({name for mapping in mappings for name in mapping})


def sample(names: Sequence[str], number: int) -> list[str]:
    """Returns so many of the types that take seconds, spread over all and the same in each run: those with the smallest hashes."""
    quick = [name for name in names if name not in _LONG.split()]
    return sorted(sorted(quick, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:number])


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
        config = transformers.CONFIG_MAPPING[name](**SETTINGS.get(name, {}))
        anatomy = Anatomy.of_config(config)
        verified = verify_anatomy(config)
        found = {"kind": anatomy.kind, "discovered": not anatomy.is_listed, "cannot": list(anatomy.not_covered)}
        results.put({"type": name, **found, **verified.to_json()})
    except ResectError as error:
        results.put({"type": name, "refused": type(error).__name__, "reason": str(error)})
    except Exception as error:  # noqa: BLE001 - the configuration of a type that does not even build by default
        results.put({"type": name, "refused": "Error", "reason": f"{type(error).__name__}: {str(error)[:300]}"})


def examined(name: str, seconds: float) -> dict[str, Any]:
    """Returns what was found of a type, by a process of its own."""
    context = multiprocessing.get_context()
    results: Any = context.Queue()
    process = context.Process(target=examine, args=(name, results))
    start = time.monotonic()
    process.start()
    found: dict[str, Any] | None = None
    while found is None and time.monotonic() - start < seconds:
        is_over = not process.is_alive()
        try:
            found = results.get(timeout=1)
        except queue.Empty:
            if is_over:
                found = {"type": name, "refused": "Error", "reason": f"Its process ended with exit code {process.exitcode}."}
    process.terminate()
    process.join()
    found = found or {"type": name, "refused": "Time", "reason": f"It took more than {seconds:g} seconds."}
    return found | {"seconds": round(time.monotonic() - start, 1)}


def versions() -> dict[str, Any]:
    """Returns what the results depend on: the version of transformers, and of what discovery finds."""
    import transformers

    from resect.models.discovery_cache import VERSION

    return {"transformers": transformers.__version__, "discovery": VERSION}


def finished(path: Path | None) -> dict[str, dict[str, Any]]:
    """Returns by type what a file has that these versions found; a type that took too long is examined again."""
    if path is None or not path.exists():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    of_these = isinstance(stored, dict) and stored.get("versions") == versions()
    return {found["type"]: found for found in stored["types"] if found.get("refused") != "Time"} if of_these else {}


def proved(found: Mapping[str, Any]) -> str:
    """Returns the proved roles, by stack."""
    return "; ".join(f"{stack}: {' '.join(names) or 'none'}" for stack, names in found["roles"].items())


def not_proved(found: Mapping[str, Any]) -> str:
    """Returns the matrices without a role, the laws that fail, and what is not covered; or why a type is refused."""
    if "refused" in found:
        return f"{found['refused']}: {' '.join(found['reason'].split())}"
    paths = "; ".join(" ".join(names) for names in found["paths"].values() if names)
    failed = [f"{name} fails at {law['failed'][0]}" for name, law in found["laws"].items() if law["failed"]]
    return ". ".join(text.rstrip(".") for text in (paths, *failed, *found["cannot"]) if text)


def row(found: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    """Returns a line of the table: type, kind, share, proved roles, what was not proved."""
    if "refused" in found:
        return found["type"], "–", "–", "–", not_proved(found)
    return found["type"], found["kind"], f"{100 * found['covered']:.1f} %", proved(found), not_proved(found)


def summary(found: Iterable[Mapping[str, Any]]) -> str:
    """Returns the counts."""
    every = list(found)
    covered = [each for each in every if "refused" not in each]
    hold = [each for each in covered if each["holds"]]
    nearly = [each for each in hold if each["covered"] >= 0.95]
    named = [each for each in hold if not any(each["paths"].values())]
    refused: dict[str, int] = {}
    for each in every:
        if "refused" in each:
            refused[each["refused"]] = refused.get(each["refused"], 0) + 1
    reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(refused.items()))
    return (
        f"{len(covered)} of {len(every)} types are covered; all laws hold in {len(hold)}, {len(nearly)} of these with 95 % of the "
        f"parameters or more, {len(named)} with a role for every matrix. Refused: {reasons or 'none'}."
    )


def markdown(found: Sequence[Mapping[str, Any]], *, all_types: int) -> str:
    """Returns a page with the table."""
    shorter: Callable[[str], str] = lambda text: text if len(text) <= 400 else f"{text[:400].rsplit(' ', 1)[0]} …"
    lines = [" | ".join(shorter(cell).replace("|", "\\|") for cell in row(each)) for each in found]
    part = "" if len(found) == all_types else f" of {all_types}"
    return "\n".join(
        (
            "# Which model types are covered",
            "",
            f"Generated by `python scripts/coverage.py --output coverage.json --markdown docs/coverage.md` with transformers "
            f"{versions()['transformers']}: a tiny model of each type's default configuration, with random weights; the laws of "
            f"`resect anatomy MODEL --verify` at one block of each kind. {len(found)} types{part}. {summary(found)}",
            "",
            "*Covered* is the share of the parameters of the blocks' matrices that are at sites. A matrix without a proved role has the "
            "path of its module as its role.",
            "",
            "| type | kind | covered | proved roles | without a role, not covered, or why refused |",
            "|---|---|---|---|---|",
            *(f"| {line} |" for line in lines),
            "",
        )
    )


def parsed() -> argparse.Namespace:
    """Returns what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("types", nargs="*", metavar="TYPE", help="Model types; all text types by default.")
    parser.add_argument(
        "--sample", type=int, default=None, metavar="N", help="Only so many of them that take seconds, the same in each run."
    )
    parser.add_argument(
        "--output", type=Path, default=None, metavar="FILE", help="Everything that was found, as JSON; continued if it exists."
    )
    parser.add_argument("--markdown", type=Path, default=None, metavar="FILE", help="The table, for people.")
    parser.add_argument("--seconds", type=float, default=120.0, metavar="N", help="Most seconds for one type (default: 120).")
    parser.add_argument("--fresh", action="store_true", help="Examine all types again, whatever the output has.")
    return parser.parse_args()


def main() -> None:
    """Runs the command line."""
    options = parsed()
    # Imported once, before the processes are made.
    import transformers.models.bart.modeling_bart
    import transformers.models.llama.modeling_llama  # noqa: F401

    import resect.edits.verify_anatomy  # noqa: F401

    names = options.types or text_types()
    if options.sample is not None:
        names = sample(names, options.sample)
    known = {} if options.fresh else finished(options.output)
    found: dict[str, dict[str, Any]] = dict(known)
    for number, name in enumerate(names, 1):
        if name not in known:
            found[name] = examined(name, options.seconds)
            if options.output is not None:
                text = json.dumps({"versions": versions(), "types": list(found.values())}, indent=1, ensure_ascii=False)
                options.output.write_text(text + "\n", encoding="utf-8")
        print(f"{number}: {' | '.join(row(found[name]))}", flush=True)
    chosen = [found[name] for name in names]
    if options.markdown is not None:
        options.markdown.write_text(markdown(chosen, all_types=len(text_types())), encoding="utf-8")
    print(summary(chosen))


if __name__ == "__main__":
    main()
