"""One Prefect server for every test that needs no other."""

import os

import pytest


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    from foretaste.flows.prefect_server import settle

    os.environ.setdefault("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
    settle()
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=180),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield
