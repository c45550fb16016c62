"""What operators schedule: work pools, deployments and the watch over runs that die, on Prefect's server."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml
from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from infra.workspace import Workspace
from rstar_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prefect.client.orchestration import SyncPrefectClient

    from rstar_core.config import CampaignConfig

SPECIFICATION = Path(__file__).resolve().parents[1] / "prefect.yaml"
POOLS = {
    "cpu": "What needs a catalog and no model: ingest, maintenance, reports.",
    "gpu": "Search, training and evaluation; without a GPU, the machine with the most cores.",
}
_SILENT_SECONDS = 90  # three heartbeats, see prefect.yaml
_WATCH = "rstar: a run that is silent has crashed"


def set_up(configs: Sequence[CampaignConfig], limits: Mapping[str, int]) -> list[str]:
    """Make pools, deployments and the watch, or bring them up to date.

    Args:
        configs: Each of these campaigns gets deployments of its own, with its configuration filled in;
            without any, the forms are empty.
        limits: How many runs each work pool has at a time.

    Returns:
        The deployments' names, `flow/deployment`.

    Raises:
        ConfigError: No server is set, or it does not answer.
    """
    if not PREFECT_API_URL.value():
        raise ConfigError("PREFECT_API_URL is not set; start a server with `rstar up`, or say where one is")
    try:
        with get_client(sync_client=True) as client:
            for name, description in POOLS.items():
                _set_up_pool(client, name, description, limits[name])
            _set_up_watch(client)
            return [_register(each) for each in _wanted(configs)]
    except httpx.TransportError as error:
        raise ConfigError(
            f"Prefect's server at {PREFECT_API_URL.value()} does not answer ({error}); start it first"
        ) from error


def _wanted(configs: Sequence[CampaignConfig]) -> Iterator[dict[str, Any]]:
    """Those of the specification: filled in for each campaign, or as they are where there is none."""
    general = yaml.safe_load(SPECIFICATION.read_text(encoding="utf-8"))["deployments"]
    if not configs:
        yield from general
    for config in configs:
        workspace = Workspace.of(config)
        filled = config.model_copy(update={"root": str(workspace.root.parent)}).model_dump(mode="json")
        for each in general:
            mine = {**each, "name": config.name, "tags": [*each["tags"], config.name]}
            if "campaign" in each.get("parameters", {}):
                mine["parameters"] = {"campaign": str(workspace.root)}
                mine["schedules"] = [{**when, "active": True} for when in each["schedules"]]
            else:
                mine["parameters"] = {"config": filled, **_first_of(each["entrypoint"])}
            yield mine


def _first_of(entrypoint: str) -> dict[str, Any]:
    """What else a form asks for, filled in with where everybody begins."""
    match entrypoint.rpartition(".")[2]:
        case "round_flow" | "retry_flow":
            return {"round_id": 1}
        case "evaluate_flow":
            return {"round_id": 0, "label": "base"}
    return {}


def _register(wanted: Mapping[str, Any]) -> str:
    """Runs begin where this was called, so that relative paths mean the same as on the command line."""
    flow: Flow[Any, Any] = load_flow_from_entrypoint(wanted["entrypoint"], use_placeholder_flow=False)
    pool = wanted["work_pool"]
    deployment = RunnerDeployment.from_flow(
        flow,
        name=wanted["name"],
        parameters=wanted.get("parameters"),
        description=wanted["description"],
        tags=wanted["tags"],
        schedules=[
            Cron(each["cron"], timezone=each["timezone"], active=each["active"])
            for each in wanted.get("schedules", ())
        ],
        work_pool_name=pool["name"],
        job_variables={**pool["job_variables"], "working_dir": str(Path.cwd())},
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment.apply()
    return deployment.full_name


def _set_up_pool(client: SyncPrefectClient, name: str, description: str, limit: int) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(
            name=name,
            description=description,
            type="process",
            base_job_template=template,
            concurrency_limit=limit,
        )
        client.create_work_pool(pool)
    else:
        client.update_work_pool(name, WorkPoolUpdate(description=description, concurrency_limit=limit))


def _set_up_watch(client: SyncPrefectClient) -> None:
    """A run whose process died without a word would hold its place in the pool for ever."""
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={
            "prefect.flow-run.heartbeat",
            "prefect.flow-run.Completed",
            "prefect.flow-run.Failed",
            "prefect.flow-run.Cancelled",
            "prefect.flow-run.Crashed",
        },
        match={"prefect.resource.id": ["prefect.flow-run.*"]},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=_SILENT_SECONDS),
    )
    action = ChangeFlowRunState(
        name=None,
        force=False,
        state=StateType.CRASHED,
        message="The run's process has ended without a word; retry it, what is done stays done.",
    )
    for known in client.read_automations_by_name(_WATCH):
        client.delete_automation(known.id)
    client.create_automation(AutomationCore(name=_WATCH, trigger=trigger, actions=[action]))
