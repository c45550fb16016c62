"""An operator with a browser: run a small round, break a shard, see it fail, retry it, read coverage.

With RSTAR_SCREENSHOTS=FOLDER the pictures stay in that folder.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.integration.operations import running

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.timeout(600),
]
BROKEN = "search-00001"


@pytest.fixture
def pictures(tmp_path):
    folder = Path(os.environ.get("RSTAR_SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def run_from_the_form(page, operations, name):
    """Open a deployment's page, press Run, and accept the form as it is filled in; the run's id."""
    earlier = operations.post(
        "flow_runs/filter", {"deployments": {"id": {"any_": [operations.deployment(name)]}}}
    )
    page.goto(f"{operations.ui}/deployments/deployment/{operations.deployment(name)}")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Quick run").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Run Deployment").wait_for()
    dialog.get_by_role("button", name="Run", exact=True).click()
    return operations.newest_run(name, after={each["id"] for each in earlier})


def open_artifact(page, operations, key):
    """The newest of the pages under this key, through the list of them."""
    page.goto(f"{operations.ui}/artifacts/key/{key}")
    page.get_by_role("link").filter(has_text=re.compile(r"^[0-9a-f]{8}$")).first.click()


def test_an_operators_evening(tmp_path, write_config, page, pictures):
    config = write_config(tmp_path, trains=False, shard_size=4)
    log = tmp_path / "runs" / "small" / "logs" / "round-1" / f"{BROKEN}.log"
    log.parent.mkdir(parents=True)
    log.write_text("no log of ours\nnor this\n")

    def picture(name):
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1500)  # charts move until then
        page.screenshot(path=pictures / f"{name}.png")

    with running(tmp_path, config) as operations:
        page.goto(f"{operations.ui}/deployments")
        page.get_by_text("7 Deployments").wait_for()
        picture("1-deployments")

        ingest = run_from_the_form(page, operations, "ingest/small")
        assert operations.wait_for(ingest)["type"] == "COMPLETED"

        run = run_from_the_form(page, operations, "round/small")
        failed = operations.wait_for(run)
        assert failed["type"] == "FAILED"
        assert f"shards of search failed ({BROKEN})" in failed["message"]
        page.goto(f"{operations.ui}/runs/flow-run/{run}")
        page.get_by_text("Failed", exact=True).first.wait_for()
        page.get_by_text("is damaged; remove the file").first.wait_for()
        picture("2-a-shard-fails")

        log.unlink()
        page.get_by_role("button", name="Retry").click()
        page.get_by_role("dialog").get_by_role("button", name="Retry").click()
        assert operations.wait_for(run, after=failed["id"])["type"] == "COMPLETED"
        page.goto(f"{operations.ui}/runs/flow-run/{run}")
        page.get_by_text("Completed", exact=True).first.wait_for()
        picture("3-retried")
        tasks = operations.post("task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        searched = [each["name"] for each in tasks if each["name"].startswith("search-round-1-search-")]
        assert searched.count(f"search-round-1-{BROKEN}") == 2
        assert searched.count("search-round-1-search-00000") == 1  # what was done was not done again

        open_artifact(page, operations, "small-round-1-state")
        page.get_by_role("cell", name="problems searched").wait_for()
        picture("4-the-rounds-page")

        coverage = run_from_the_form(page, operations, "coverage/small")
        assert operations.wait_for(coverage)["type"] == "COMPLETED"
        open_artifact(page, operations, "small-coverage")
        page.get_by_role("cell", name="all", exact=True).wait_for()
        picture("5-coverage")
        shown = page.get_by_role("table").inner_text()
        (row,) = [line.split() for line in shown.splitlines() if " all" in line or "\tall" in line]
        assert row[2] == "12"  # problems
    assert len(list(pictures.glob("*.png"))) == 5
