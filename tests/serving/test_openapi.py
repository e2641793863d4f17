"""The OpenAPI description is true: schemathesis generates requests from it and checks the responses against it."""

from __future__ import annotations

from contextlib import suppress

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS

CONFORMANCE = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")
OVERLOADED = (503, 504)  # allowed: generated deadlines may be short


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_service_conforms_to_its_description(client: httpx.Client, mode: GenerationMode) -> None:
    """No request, valid or invalid, leads to an internal error or to a response of an undocumented form."""
    schema = schemathesis.openapi.from_url(str(client.base_url.join("/openapi.json")))
    checks = CHECKS.get_by_names(CONFORMANCE)
    num_requests = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def send(case: Case) -> None:
            nonlocal num_requests
            num_requests += 1
            response = case.call()
            assert response.status_code < 500 or (
                response.status_code in OVERLOADED and response.headers["retry-after"]
            )
            case.validate_response(response, checks=checks)

        with suppress(Unsatisfiable):  # a path without parameters has no invalid requests
            send()
    assert num_requests > 50
