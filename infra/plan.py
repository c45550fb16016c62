"""The plan of a campaign: for each stage what is done and what is left, and the rates that this rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.campaigns import refuse_other_settings
from infra.plan_stages import Stages
from infra.problems.counting import count_problems
from infra.problems.ingest import with_campaign_seed
from infra.rates import choose_rates
from infra.so_far import SoFar, heldout_problems, read_so_far, training_problems
from infra.workspace import Workspace
from rstar_core.errors import SourceError
from rstar_core.types import Split

if TYPE_CHECKING:
    from infra.plan_stages import Stage
    from rstar_core.config import CampaignConfig

_GPUS_OF_THIS_MACHINE = Path("/proc/driver/nvidia/gpus")
_GPUS_OF_A_SERVER = 8


@dataclass(frozen=True, slots=True)
class Given:
    """What whoever asks says instead of having it counted, measured or assumed; None: nothing."""

    problems: int | None = None
    heldout: int | None = None
    gpus: int | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A campaign before it is paid for.

    Attributes:
        of: What the stages are made from: rates, numbers of problems, GPUs.
        stages: In the order in which they run; those that have nothing to do are there too.
        counted: Where the numbers of problems come from.
        gpus_from: Where the number of GPUs comes from.
    """

    of: Stages
    stages: tuple[Stage, ...]
    counted: str
    gpus_from: str


def make_plan(
    config: CampaignConfig,
    given: Given = Given(),
    elsewhere: SoFar | None = None,
) -> Plan:
    """What a run of this configuration would do from now on, and what earlier runs have done.

    Args:
        config: The campaign. Nothing of it is made or changed.
        given: Figures that are taken as they are.
        elsewhere: Another campaign whose rates stand in where this one has none.

    Raises:
        ConfigError: The campaign was started with other settings.
        SourceError: Problems have to be counted and a file cannot be read.
        CatalogError: There is a catalog that cannot be read.
    """
    catalog = Workspace.of(config).look()
    so_far, problems, heldout, counted = SoFar(), given.problems, given.heldout, "given"
    rounds = range(1, len(config.rounds) + 1)
    by_round: dict[int, int] = {}
    if catalog is not None:
        with catalog:
            refuse_other_settings(catalog, config)
            so_far = read_so_far(catalog)
            in_catalog = {each: training_problems(catalog, each) for each in rounds}
            held = heldout_problems(catalog)
        if any(in_catalog.values()) or held:
            counted = "in the catalog"
            by_round, heldout = in_catalog, held if heldout is None else heldout
    if not by_round and None in (problems, heldout):
        counted = "in the sources"
        problems, heldout = _counted(config, problems, heldout)
    if problems is not None:
        by_round = dict.fromkeys(rounds, problems)
    asked = min(heldout or 0, config.evaluation.num_problems or heldout or 0)
    gpus, gpus_from = _gpus(config, given)
    rates = choose_rates(config, so_far, elsewhere, gpus=gpus, tokens_per_second=given.tokens_per_second)
    stages = Stages(config, so_far, rates, by_round, asked, gpus)
    return Plan(stages, tuple(stages), counted, gpus_from)


def _counted(config: CampaignConfig, problems: int | None, heldout: int | None) -> tuple[int, int]:
    """Problems of the splits that nobody has given a number for."""
    known = {Split.TRAIN: problems, Split.HELDOUT: heldout}
    sources = [each for each in config.sources if known[each.split] is None]
    try:
        found = count_problems([with_campaign_seed(each, config.seed) for each in sources])
    except SourceError as error:
        raise SourceError(
            f"{str(error).rstrip('.')}; or say how many with --problems and --heldout."
        ) from error
    train, held = ((found[split] if each is None else each) for split, each in known.items())
    return train, held


def _gpus(config: CampaignConfig, given: Given) -> tuple[int, str]:
    if given.gpus is not None:
        return given.gpus, "given"
    if config.bootstrap is not None or config.policy.engine == "openai":
        return _GPUS_OF_A_SERVER, "assumed: one server; --gpus says otherwise"
    here = len(list(_GPUS_OF_THIS_MACHINE.iterdir())) if _GPUS_OF_THIS_MACHINE.is_dir() else 0
    return here, "of this machine"
