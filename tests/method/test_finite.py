"""A reward that is no number ends the run with its name, instead of turning every mean into NaN."""

import math

import numpy as np
import pytest

from lead_kit.errors import InputError
from lead_kit.method.rewards import Rollout, finite
from lead_kit.verify.verdict import Verdict

ROLLOUT = Rollout("What is 1+1?", "It is 2.", "2", 4, False, Verdict("correct", "2", "", ""))


@pytest.mark.parametrize("value", [1, 0.5, True, np.float32(-2)])
def test_a_number_is_taken(value):
    assert finite("own", value, ROLLOUT) == float(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "1", [1.0]])
def test_anything_else_is_refused_with_its_rollout(value):
    with pytest.raises(InputError, match=r"reward 'own' is .*expected a finite number.*'It is 2.'.*'What is 1\+1\?'"):
        finite("own", value, ROLLOUT)
