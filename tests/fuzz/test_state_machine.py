"""Whatever clients, workers and handlers do, in whatever order: every answer and every task is as the model says.

``python -m tests.fuzz.machine`` goes on for longer.
"""

from __future__ import annotations

import pytest

from tests.fuzz.machine import Api, ApiOnAFile, run


@pytest.mark.parametrize("number", range(4))
def test_the_server_is_what_the_model_says(number: int) -> None:
    run(Api, 6, number=number)


def test_so_is_one_with_a_file() -> None:
    run(ApiOnAFile, 6, 30)
