"""What a campaign costs is in its catalog however its stages end, and no run spends what the cap forbids."""

import json
import re
import threading
import time
from http.server import ThreadingHTTPServer

import pytest

from flows.stages import recorded_stage
from infra.catalog.round_rows import StageRow
from infra.configuration import load_config
from infra.workspace import Workspace
from rstar_core.errors import CatalogError
from rstar_core.tags import STOP_TAGS
from tests.integration.policy_server import MODEL, Handler, completions


def stages(config):
    with Workspace.of(config).open_catalog(read_only=True) as catalog:
        return {row.stage: row.detail for row in catalog.fetch(StageRow)}


def test_a_stage_that_fails_has_spent_what_it_has_spent(tmp_path, write_config):
    config = load_config(write_config(tmp_path))

    def search(cost, *, fails):
        figures = {"cost": 0.0}
        with recorded_stage(config, 1, "search", measure=lambda: figures) as record:
            record.save_now_and_then()  # as after the first shard; the next time is half a minute away
            figures["cost"] = cost
            if fails:
                raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        search(2.0, fails=True)
    assert stages(config) == {"search": {"cost": 2.0}}
    search(1.0, fails=False)
    assert stages(config) == {"search": {"cost": 3.0}}
    with Workspace.of(config).open_catalog() as catalog:
        assert catalog.cost() == 3.0
        assert len(catalog.fetch(StageRow)) == 1
        catalog.forget_stage(1, "search", kind="search")
        assert catalog.cost() == 3.0  # it is paid


def test_a_catalog_that_is_away_hides_no_reason(tmp_path, write_config):
    config = load_config(write_config(tmp_path))
    Workspace.of(config).root.mkdir(parents=True)
    (Workspace.of(config).root / "catalog.sqlite").write_text("no catalog")
    with pytest.raises(CatalogError):
        Workspace.of(config).open_catalog()
    measured = recorded_stage(config, 1, "search", measure=lambda: {"cost": 1.0})
    with pytest.raises(ValueError, match="a bug"), measured:
        raise ValueError("a bug")


def test_a_stage_that_measures_nothing_is_not_there_before_it_is_done(tmp_path, write_config):
    config = load_config(write_config(tmp_path))
    with Workspace.of(config).open_catalog():
        pass
    with pytest.raises(ValueError, match="a bug"), recorded_stage(config, 1, "select"):
        raise ValueError("a bug")
    assert stages(config) == {}


class Billing(Handler):
    """A policy server that keeps what it was asked and what it has generated."""

    def do_POST(self):  # noqa: N802 - the library's name
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = completions(asked)
        if self.server.hides_tags:  # as OpenAI's own servers do
            for choice in reply["choices"]:
                choice["text"] = re.split("|".join(STOP_TAGS), choice["text"])[0]
        self.server.asked.append((asked["prompt"], asked["seed"]))
        self.server.billed += reply["usage"]["completion_tokens"]
        time.sleep(0.02)
        self.answer(reply)


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Billing) as server:
        server.asked, server.billed, server.hides_tags = [], 0, False
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_a_cap_stops_a_campaign_cleanly_and_a_higher_one_goes_on(tmp_path, write_config, served_cli, server):
    file = write_config(
        tmp_path, engine="openai", model=MODEL, trains=False, more=24, rollouts=2, shard_size=1
    )
    address = f"http://127.0.0.1:{server.server_port}/v1"
    text = file.read_text().replace("max_depth = 6", "max_depth = 6\nmax_step_tokens = 16")
    text = text.replace("[[rounds]]", "[[rounds]]\nescalation = []")
    prices = f'base_url = "{address}"\nprice_per_million_output = 1e6\n'

    def cap(amount):
        file.write_text(text.replace("[policy]\n", f"[policy]\n{prices}spending_cap = {amount}\n"))
        return load_config(file)

    config = cap(500)
    complaint = served_cli.complaint("run", file)
    assert "the campaign has cost 4" in complaint
    assert "and spending_cap is 500.00; raise it" in complaint
    with Workspace.of(config).open_catalog(read_only=True) as catalog:
        assert catalog.cost() == server.billed <= 500
        shards = catalog.shards(1)
    begun = [row for row in shards if row.attempt]
    assert len(begun) < len(shards) == 36
    assert sum(row.status != "done" for row in begun) <= 32  # those in flight; no other was begun
    assert {row.status for row in shards if not row.attempt} == {"pending"}
    detail = stages(config)["evaluate base"]
    assert detail["cost"] == detail["generated_tokens"] > 0

    assert "the campaign has cost 4" in served_cli.complaint("run", file)  # no second cap for a second run
    assert catalog_cost(config) == server.billed <= 500

    cap(100_000)
    assert served_cli("run", file).returncode == 0
    assert catalog_cost(config) == server.billed
    assert len(set(server.asked)) == len(server.asked), "a reply that was paid for was asked for again"


def test_a_server_that_hides_the_stop_tags_ends_a_campaign_before_it_costs_much(
    tmp_path, write_config, served_cli, server
):
    file = write_config(tmp_path, engine="openai", model=MODEL, trains=False)
    address = f"http://127.0.0.1:{server.server_port}/v1"
    file.write_text(file.read_text().replace("[policy]\n", f'[policy]\nbase_url = "{address}"\n'))
    server.hides_tags = True
    assert "takes the stop tags off its texts" in served_cli.complaint("run", file)
    assert len(server.asked) <= 8  # those that were in flight together: one for each held-out problem


def catalog_cost(config):
    with Workspace.of(config).open_catalog(read_only=True) as catalog:
        return catalog.cost()
