"""Every setting of the factory, with the paper's values as defaults.

Models are frozen and refuse unknown keys. Units stand in the names. Reading TOML and turning a validation
error into one sentence is `infra.configuration`'s work; this file only says what is allowed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rstar_core.engine_config import PolicyConfig, ScorerConfig
from rstar_core.settings import Fraction, Settings
from rstar_core.training_config import PpmConfig, SftConfig
from rstar_core.types import Split, Tier
from rstar_core.voting import AnswerRule


class BuiltinSource(Settings):
    """Procedural problems with exact answers from `reasoning-gym`."""

    kind: Literal["builtin"] = "builtin"
    split: Split = Split.TRAIN
    families: tuple[str, ...] = Field(
        default=(), description="Names of problem families; empty means every family this factory knows."
    )
    num_problems: int = Field(default=64, ge=1, description="Problems in all, spread evenly over families.")
    seed: int = Field(
        default=0, ge=0, description="Added to the campaign's seed. The splits never share a problem."
    )


class FileSource(Settings):
    """Problems from a JSON, JSONL or Parquet file, local or `s3://`."""

    kind: Literal["file"] = "file"
    split: Split = Split.TRAIN
    path: str = Field(min_length=1, description="File or glob; `$NAME` is taken from the environment.")
    name: str = Field(min_length=1, description="Source name, for example `gsm8k`.")
    question: str = Field(default="question", description="Field that holds the question.")
    answer: str = Field(default="answer", description="Field that holds the answer or the worked solution.")
    answer_format: Literal["plain", "gsm8k", "boxed"] = Field(
        default="plain",
        description="plain: the field is the answer; gsm8k: what follows `####`; boxed: the last \\boxed{}.",
    )
    tier: Tier | None = Field(
        default=None, description="One tier for all rows; None derives it from the row."
    )
    difficulty: str | None = Field(
        default=None, description="Field with a difficulty 1–10; from 6 on a problem is olympiad tier."
    )
    topic: str | None = Field(default=None, description="Field with the subject; kept in the source name.")
    licence: str = Field(default="unknown", description="Licence of the source.")
    synthetic: bool = Field(default=False, description="Written by a language model (paper, section 3.1).")
    limit: int | None = Field(default=None, ge=1, description="Keep at most this many rows, from the start.")


Source = Annotated[BuiltinSource | FileSource, Field(discriminator="kind")]


class SearchConfig(Settings):
    """One tree's search; defaults are round 1 of the paper (appendix A.2)."""

    num_candidates: int = Field(default=5, ge=1, description="Candidates per step (paper: 5 / 8 / 8 / 16).")
    answer_step: Literal["policy", "output"] = Field(
        default="policy",
        description="Who writes the answer step: the policy (paper), or we, from what was printed.",
    )
    num_rollouts: int = Field(default=8, ge=1, description="Rollouts per problem (paper: 8 / 16 / 16 / 16).")
    max_depth: int = Field(default=16, ge=1, le=254, description="Depth limit (paper: 16).")
    exploration: float = Field(default=2.0, ge=0, description="c of UCT (paper: 2).")
    annotation: Literal["terminal", "ppm"] = Field(
        default="terminal", description="q0 = 0 (rounds 1–2) or q0 = PPM score (rounds 3–4)."
    )
    num_proposals: int = Field(
        default=2,
        ge=1,
        description="Attempts at a node before it is closed because no candidate ran: the bound on "
        "consecutive code errors, for a failed candidate is no node that another could follow.",
    )
    rollouts_in_flight: int = Field(
        default=1, ge=1, description="Rollouts of a tree at a time, kept apart by virtual loss (paper: 1)."
    )
    temperature: float = Field(default=0.8, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(default=0.95, gt=0, le=1, description="Nucleus mass.")
    max_step_tokens: int = Field(default=256, ge=8, description="Limit on the tokens of one step.")


class SandboxConfig(Settings):
    """Limits of one program."""

    timeout_seconds: float = Field(default=5.0, gt=0, description="Wall time from the start of the run.")
    memory_mb: int = Field(default=512, ge=64, description="Address space of the program beyond the image.")
    max_output_kb: int = Field(default=64, ge=1, description="Kept head of the output.")
    num_workers: int = Field(default=2, ge=1, description="Programs at a time.")
    minimum_isolation: Literal["none", "rlimits", "seccomp", "namespaces"] = Field(
        default="seccomp", description="Refuse to run model-written code below this layer."
    )


class EvaluationConfig(Settings):
    """Held-out evaluation: greedy pass@1, and System 2 by search with the PPM.

    One that is done stays as it is when these settings change, until `rstar evaluate CONFIG LABEL --again`.
    """

    num_problems: int | None = Field(default=None, ge=1, description="None: every held-out problem.")
    num_trees: int = Field(default=1, ge=1, description="Trees per problem in System 2.")
    num_candidates: int = Field(default=32, ge=1, description="Candidates per step in System 2 (paper: 32).")
    num_rollouts: int = Field(default=4, ge=1, description="Rollouts per System 2 tree.")
    answer_rule: AnswerRule = Field(
        default="best",
        description="Whose answer is given: of the best trajectory by PPM (paper), of most trees, or of most "
        "by PPM-weighted votes. With several trees the other rules are reported too.",
    )


class EscalationConfig(Settings):
    """One more effort at the problems that are still unsolved (paper, section 3.4)."""

    num_new_trees: int = Field(
        default=0, ge=0, description="Trees with seeds of their own; 0 grows the trees that are there."
    )
    num_rollouts: int | None = Field(
        default=None, ge=1, description="Rollouts of each of these trees in all; None: those of the search."
    )


class RoundConfig(Settings):
    """One self-evolution round."""

    prompt: Literal["bootstrap", "finetuned"] = Field(
        default="finetuned",
        description="bootstrap: instructions and two worked examples; finetuned: question.",
    )
    search: SearchConfig = SearchConfig()
    escalation: tuple[EscalationConfig, ...] = Field(
        default=(EscalationConfig(num_new_trees=1),),
        description="Efforts in turn at hard problems, each only for what is still unsolved (paper: one more "
        "tree; round 4: 64, then 128 rollouts, then trees with other seeds).",
    )
    sft: SftConfig | None = Field(default=None, description="No table: search only, train no policy.")
    ppm: PpmConfig | None = Field(default=None, description="No table: train no PPM in this round.")


class CatalogConfig(Settings):
    """Where the catalog lies, if not in the campaign's folder: for teams, and for more than one machine.

    Passwords and keys come from the environment (PGPASSWORD or a password file; AWS_… or a profile), never
    from here.
    """

    metadata: str | None = Field(
        default=None,
        pattern=r"^postgres(ql)?://",
        description="`postgresql://[user@]host/database[?schema=…]`; without it the campaign's name.",
    )
    data: str | None = Field(
        default=None,
        min_length=1,
        description="`s3://bucket/prefix` or a folder; the campaign's name is added.",
    )


class CampaignConfig(Settings):
    """A campaign: problems, base policy, rounds, evaluation."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="Name of the campaign's folder.")
    seed: int = Field(default=0, ge=0, description="Root of every other seed.")
    root: str = Field(
        default="runs", description="Folder of the campaigns: models, logs, reports, the catalog."
    )
    catalog: CatalogConfig = Field(
        default=CatalogConfig(), description="Where the catalog lies, if elsewhere."
    )
    sources: tuple[Source, ...] = Field(min_length=1, description="Where problems come from.")
    policy: PolicyConfig = Field(
        default=PolicyConfig(), description="The base model that every round trains."
    )
    bootstrap: PolicyConfig | None = Field(
        default=None, description="A larger policy for round 1 (paper: 236B); None: the base model itself."
    )
    scorer: ScorerConfig = Field(default=ScorerConfig(), description="Where PPMs score steps.")
    sandbox: SandboxConfig = SandboxConfig()
    rounds: tuple[RoundConfig, ...] = Field(min_length=1, description="Rounds in sequence; round 1 first.")
    evaluation: EvaluationConfig = EvaluationConfig()
    accelerate: str | None = Field(
        default=None,
        description="How training is spread: a name of infra/deploy/accelerate (fsdp, zero3, cpu_two), or a "
        "file for `accelerate launch --config_file`; None: one process.",
    )
    shard_size: int = Field(default=8, ge=1, description="Problems per shard, the unit of retry.")
    shard_timeout_seconds: float = Field(
        default=21_600.0, gt=0, description="Limit of one attempt at a shard; a retry goes on from its log."
    )
    shard_stall_seconds: float = Field(
        default=900.0, gt=0, description="Limit of the time in which nothing comes back to a shard."
    )
    min_success_ratio: Fraction = Field(
        default=1.0,
        description="Share of a round's problems whose search must succeed for the round to go on.",
    )

    @model_validator(mode="after")
    def _check_rounds(self) -> CampaignConfig:
        if self.rounds[0].search.annotation == "ppm":
            raise ValueError(
                "rounds.0.search.annotation is 'ppm', but round 1 has no PPM to ask; use 'terminal'"
            )
        for number, (before, this) in enumerate(zip(self.rounds, self.rounds[1:], strict=False), start=2):
            if this.search.annotation == "ppm" and before.ppm is None:
                raise ValueError(
                    f"rounds.{number - 1}.search.annotation is 'ppm', but round {number - 1} trains no PPM; "
                    f"give it a [rounds.ppm] table"
                )
        if self.policy.engine == "openai" and any(each.sft for each in self.rounds):
            raise ValueError(
                "policy.engine is 'openai', but rounds with [rounds.sft] train from local weights; "
                "put the server under [bootstrap] and a local model under [policy]"
            )
        return self
