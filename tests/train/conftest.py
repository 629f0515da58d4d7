"""A small model and the module that makes trainers of it."""

import pytest


@pytest.fixture(scope="module")
def small_trainer():
    from bench import small_trainer

    return small_trainer


@pytest.fixture(scope="module")
def model_folder(small_trainer, tmp_path_factory):
    return small_trainer.train(tmp_path_factory.mktemp("small_trainer") / "model")
