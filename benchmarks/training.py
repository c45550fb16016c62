"""Fine-tuning the policy beside a bare TRL script: tokens a second of the same examples.

python benchmarks/training.py [--json] [--model smollm2-135m-instruct] [--examples 64]

The bare script is what TRL's documentation shows, prompt and completion as text, with the same model,
arithmetic, batch and schedule. Both run in processes of their own, in turn, twice each.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, arguments, at_least, show
from flows.running import prepare_environment
from infra.models.resolve import resolve_model
from infra.problems.builtin import generate
from infra.training import SftJob, run_training
from rstar_core.config import BuiltinSource
from rstar_core.prompts import answer_step, output_block, render
from rstar_core.tags import END_OF_CODE, END_OF_STEP
from rstar_core.training_config import SftConfig

_REPEATS = 2
_CONFIG = SftConfig(num_epochs=1, learning_rate=2e-4, batch_size=8, micro_batch_size=4, max_length=512)

_BARE = """
import json, sys, time
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

class Clock(TrainerCallback):
    def on_train_begin(self, *_, **__):
        self.began = time.monotonic()
    def on_log(self, _, __, ___, logs, **____):
        if "loss" in logs:
            self.tokens, self.seconds = logs["num_tokens"], time.monotonic() - self.began

job, clock = json.loads(sys.argv[1]), Clock()
rows = [json.loads(line) for line in open(job["dataset"])]
data = [{"prompt": "".join(r["pieces"]), "completion": "".join(r["completion_pieces"])} for r in rows]
tokenizer = AutoTokenizer.from_pretrained(job["model"])
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
    args=SFTConfig(output_dir=job["output"], report_to="none", disable_tqdm=True, save_strategy="no",
                   bf16=job["bf16"], use_cpu=job["cpu"], logging_steps=1, **job["settings"]),
    train_dataset=Dataset.from_list(data),
    processing_class=tokenizer,
    callbacks=[clock],
)
trainer.train()
print(json.dumps({"tokens": clock.tokens, "seconds": clock.seconds}))
"""


def main() -> None:
    """Print a table, or with --json the list that design.md's contract names."""
    parser = arguments(__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--examples", type=int, default=64)
    options = parser.parse_args()
    prepare_environment()
    model = resolve_model(options.model)
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_examples(Path(folder) / "rows.jsonl", options.examples)
        for repeat in range(_REPEATS):
            job = SftJob(
                base_model=model,
                dataset=dataset,
                output=Path(folder) / f"policy-{repeat}",
                seed=repeat,
                config=_CONFIG,
            )
            ours.append(run_training(job).tokens_per_second)
            bare.append(bare_rate(model, dataset, Path(folder)))
        packed = job.model_copy(
            update={
                "output": Path(folder) / "packed",
                "config": _CONFIG.model_copy(update={"packing": True}),
            }
        )
        packed_rate = run_training(packed).tokens_per_second
    rate, bare_mean = sum(ours) / _REPEATS, sum(bare) / _REPEATS
    figures = [
        Figure("examples", options.examples, "1"),
        Figure("ours, tokens a second", rate, "1/s"),
        Figure("bare TRL script, tokens a second", bare_mean, "1/s"),
        at_least("ours over the bare script", rate / bare_mean, "1", 0.9),
        Figure("ours with packing, one run, tokens a second", packed_rate, "1/s"),
    ]
    show(figures, as_json=options.json)


def write_examples(path: Path, count: int) -> Path:
    """Solutions of arithmetic in two steps with what was printed, as a search leaves them."""
    rows = []
    for problem in generate(
        BuiltinSource(num_problems=count, families=("chain_sum", "gcd_many", "products"))
    ):
        steps = (
            f"# Step 1: take the numbers from the question\nvalues = {problem.answer!r}\n{END_OF_STEP}\n",
            f"# Step 2: compute and print the result\nprint(values)\n{END_OF_CODE}\n"
            + output_block(problem.answer),
            answer_step(problem.answer),
        )
        rows.append(
            {
                "problem_id": problem.problem_id,
                "pieces": render(problem.question, (), "finetuned"),
                "completion_pieces": steps,
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def bare_rate(model: Path, dataset: Path, folder: Path) -> float:
    """Tokens a second of TRL's trainer as its documentation uses it."""
    import torch  # noqa: PLC0415 - heavy

    from infra.training.session import has_fast_bf16  # noqa: PLC0415 - imports torch and transformers

    job = {
        "model": str(model),
        "dataset": str(dataset),
        "output": str(folder / "bare"),
        "bf16": has_fast_bf16(),
        "cpu": not torch.cuda.is_available(),
        "settings": {
            "num_train_epochs": _CONFIG.num_epochs,
            "learning_rate": _CONFIG.learning_rate,
            "lr_scheduler_type": _CONFIG.schedule,
            "per_device_train_batch_size": _CONFIG.micro_batch_size,
            "gradient_accumulation_steps": _CONFIG.batch_size // _CONFIG.micro_batch_size,
            "max_length": _CONFIG.max_length,
            "gradient_checkpointing": torch.cuda.is_available(),
        },
    }
    done = subprocess.run(
        [sys.executable, "-c", _BARE, json.dumps(job)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the bare script failed:\n{done.stderr[-2000:]}")
    figures = json.loads(done.stdout.splitlines()[-1])
    return float(figures["tokens"] / figures["seconds"])


if __name__ == "__main__":
    main()
