"""Runs that many tests compare others with."""

import pytest
from conftest import make_data
from helpers.training import make_trainer

from ctcl_hf import CTCL


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Trainers that have trained to their end, by their arguments: what others, to which something
    happens, are compared with.
    """
    trained = {}

    def get(objective=CTCL, images=None, **options):
        key = (objective, images, *sorted(options.items()))
        if key not in trained:
            data = images and make_data(*images)
            folder = tmp_path_factory.mktemp("undisturbed")
            trained[key] = make_trainer(folder, objective, data=data, **options)
            trained[key].train()
        return trained[key]

    return get
