"""Program: rewrite a checkpoint as a plain bfloat16 directory with a padding token of its own.

Run as `python -P convert.py SOURCE GGUF_NAME OUTPUT` in a process of its own, so that two copies of the
weights, progress bars and library settings end with it. SOURCE is a directory; GGUF_NAME is the file in it,
or "" if the directory is an ordinary checkpoint. It imports nothing of this project.

A model read from GGUF refuses `save_pretrained`, so its weights go into a fresh model. SmolLM2 pads with its
end-of-turn token; a trainer that masks padding would then never teach the model to stop, so padding becomes
`<|endoftext|>`, which the chat format does not use.
"""

from __future__ import annotations

import sys

_PADDING = "<|endoftext|>"
_SAMPLE = "# Step 1: 12 + 30\nx = 12 + 30\nprint(x)<|im_end|>"


def main(source: str, gguf_name: str, output: str) -> None:
    """Load the checkpoint, check that its tokenizer gives text back unchanged, and save both."""
    import torch  # noqa: PLC0415 - seconds to import; --help and tests must not pay
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    gguf = {"gguf_file": gguf_name} if gguf_name else {}
    tokenizer = AutoTokenizer.from_pretrained(source, **gguf)
    tokenizer.pad_token = _PADDING
    ids = tokenizer(_SAMPLE, add_special_tokens=False)["input_ids"]
    if tokenizer.decode(ids) != _SAMPLE or tokenizer.pad_token_id in {*ids, tokenizer.eos_token_id}:
        raise SystemExit(f"the tokenizer of {source} does not give text back unchanged")

    loaded = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **gguf)
    settings = loaded.config.to_dict()
    kind = settings.pop("model_type")
    for name in ("quantization_config", "_name_or_path", "architectures"):
        settings.pop(name, None)
    settings["pad_token_id"] = tokenizer.pad_token_id
    fresh = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    fresh.load_state_dict(loaded.state_dict())
    fresh.generation_config.pad_token_id = tokenizer.pad_token_id
    fresh.to(torch.bfloat16).save_pretrained(output)
    tokenizer.save_pretrained(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
