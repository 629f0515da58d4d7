"""Local models need no hub, also in a process that had imported the hub's library before the run was known."""

import huggingface_hub
from huggingface_hub import constants

from lead_kit.runs import find


def test_a_library_that_is_there_already_is_told(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # so that it is restored
    monkeypatch.delenv("HF_HUB_OFFLINE")
    find.turn_hub_off_if_local("tiny", "some/model")
    assert not huggingface_hub.is_offline_mode()
    find.turn_hub_off_if_local("tiny", "runs/02_sft/model")
    assert huggingface_hub.is_offline_mode()


def test_a_user_who_wants_the_hub_keeps_it(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    find.turn_hub_off_if_local("tiny")
    assert not huggingface_hub.is_offline_mode()
