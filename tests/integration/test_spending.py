"""What a campaign costs is in its catalog however its stages end, and no run spends what the cap forbids."""

import pytest

from flows.stages import recorded_stage
from infra.catalog.round_rows import StageRow
from infra.configuration import load_config
from infra.workspace import Workspace
from rstar_core.errors import CatalogError


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
