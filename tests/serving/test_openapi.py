"""The description and the service agree: schemathesis makes requests from the one and sends them to the other."""

from __future__ import annotations

from contextlib import suppress

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS

AGREES = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
BUSY = (503, 504)  # what a short deadline may get


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["as described", "otherwise"])
def test_service_does_as_it_says(client: httpx.Client, mode: GenerationMode) -> None:
    """No request that follows the description, or does not, ends in an error or in an answer of another shape."""
    described = schemathesis.openapi.from_url(str(client.base_url.join("/openapi.json")))
    checks = CHECKS.get_by_names(AGREES)
    asked = 0
    for found in described.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def ask(case: Case) -> None:
            nonlocal asked
            asked += 1
            answer = case.call()
            assert answer.status_code < 500 or (answer.status_code in BUSY and answer.headers["retry-after"])
            case.validate_response(answer, checks=checks)

        with suppress(Unsatisfiable):  # of an address without parameters nothing but what is described can be asked
            ask()
    assert asked > 50
