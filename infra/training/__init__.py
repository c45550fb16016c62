"""Training of the policy and of the process preference model, each run in a process of its own.

`job` says what a run is, `launch` starts it and waits, `examples` turns rows into token ids. `session`,
`sft` and `ppm` run inside the trainer's process alone: nothing else imports them.
"""

from infra.training.job import CurvePoint, PpmJob, Progress, SftJob, TrainingJob, TrainingResult
from infra.training.launch import run_training

__all__ = ["CurvePoint", "PpmJob", "Progress", "SftJob", "TrainingJob", "TrainingResult", "run_training"]
