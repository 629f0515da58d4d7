"""The tests of a group share a worker, and so the models and runs that their fixtures make."""

import pytest


@pytest.mark.xdist_group("shared")
def test_a_group_is_known_to_the_scheduler(request):
    if request.config.getoption("dist", "no") != "loadgroup" and not getattr(request.config.option, "loadgroup", False):
        pytest.skip("groups matter only with several workers: `make test` runs this with --dist loadgroup")
    assert request.node.nodeid.endswith("@shared")  # what pytest-xdist sorts by
