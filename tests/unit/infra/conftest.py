"""What the tests of several adapters share."""

import shutil

import pytest


@pytest.fixture(scope="session")
def empty_catalog(tmp_path_factory):
    """A function that puts an empty catalog into a folder; a copy, for making one takes half a second."""
    from infra.catalog.catalog import Catalog

    template = tmp_path_factory.mktemp("empty-catalog")
    Catalog.open(template, create=True).close()

    def put(folder):
        return shutil.copytree(template, folder, dirs_exist_ok=True)

    return put
