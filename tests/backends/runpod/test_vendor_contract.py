"""The stand-in's schemas say nothing that the vendor's contract does not, wherever that lies beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runpod_stand_in import schemas

CONTRACT = Path(__file__).parents[4] / "shared" / "runpod" / "openapi-v2.json"
REQUESTS = {"CreatePodRequest": schemas.CreatePodRequest, "PodActionRequest": schemas.PodActionRequest}
ANSWERS = {
    "Pod": schemas.Pod,
    "ListPodsResponse": schemas.ListPodsResponse,
    "ListGpuTypesResponse": schemas.ListGpuTypesResponse,
    "ListCpuTypesResponse": schemas.ListCpuTypesResponse,
    "NetworkVolume": schemas.NetworkVolume,
    "ListPodBillingResponse": schemas.ListPodBillingResponse,
    "ErrorResponse": schemas.ErrorResponse,
}


def flat(node: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Resolve references and join `allOf`; of what may be null, the rest, with `nullable`."""
    found: dict[str, Any] = {name: value for name, value in node.items() if name not in ("$ref", "allOf", "anyOf")}
    parts = list(node.get("allOf", ()))
    if "$ref" in node:
        parts.append(definitions[node["$ref"].rsplit("/", 1)[1]])
    for one in node.get("anyOf", ()):
        if one.get("type") == "null":
            found["nullable"] = True
        else:
            parts.append(one)
    for part in parts:
        more = flat(part, definitions)
        found["properties"] = {**found.get("properties", {}), **more.pop("properties", {})}
        found["required"] = [*found.get("required", []), *more.pop("required", [])]
        found = {**more, **found}
    if isinstance(found.get("type"), list):
        found["nullable"] = "null" in found["type"]
        found["type"] = next(kind for kind in found["type"] if kind != "null")
    return found


def differences(ours: Any, theirs: Any, our_defs: dict[str, Any], their_defs: dict[str, Any], at: str, *, answer: bool) -> list[str]:
    """Say where what we declare is not theirs."""
    our, their = flat(ours, our_defs), flat(theirs, their_defs)
    kinds = (our.get("type"), their.get("type"))
    if kinds[0] != kinds[1] and kinds != ("integer", "number") and "type" in their:
        return [f"{at}: {kinds[0]} here, {kinds[1]} there"]
    said = []
    if answer and our.get("nullable") and not their.get("nullable") and at.rsplit(".", 1)[-1] in their.get("required", ()):
        said.append(f"{at}: null here")
    if "enum" in their and set(our.get("enum", [our.get("const")])) - set(their["enum"]):
        said.append(f"{at}: {our.get('enum')} is not of {their['enum']}")
    limits = ("minimum", "maximum", "minLength", "maxItems", "pattern")
    if not answer:
        said += [f"{at}: {one} is {our.get(one)} here, {their[one]} there" for one in limits if one in their and their[one] != our.get(one)]
    if "items" in our and "items" in their:
        said += differences(our["items"], their["items"], our_defs, their_defs, f"{at}[]", answer=answer)
    for name, inner in our.get("properties", {}).items():
        if name not in their.get("properties", {}):
            said.append(f"{at}.{name} is not there")
        else:
            said += differences(inner, their["properties"][name], our_defs, their_defs, f"{at}.{name}", answer=answer)
    needed = set(their.get("required", ())) if answer or kinds[0] == "object" else set()
    said += [f"{at}.{name} is required there" for name in needed - set(our.get("required", ()))]
    return said


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    if not CONTRACT.is_file():
        pytest.skip("the vendor's contract does not lie beside this checkout")
    return json.loads(CONTRACT.read_text())


@pytest.mark.parametrize("name", [*REQUESTS, *ANSWERS])
def test_a_schema_is_the_vendors(contract: dict[str, Any], name: str) -> None:
    model = REQUESTS.get(name) or ANSWERS[name]
    ours = model.model_json_schema(by_alias=True)
    theirs = contract["components"]["schemas"]
    assert differences(ours, theirs[name], ours.get("$defs", {}), theirs, name, answer=name in ANSWERS) == []


def test_the_comparison_finds_what_differs(contract: dict[str, Any]) -> None:
    theirs = contract["components"]["schemas"]
    ours = schemas.Pod.model_json_schema(by_alias=True)
    ours["properties"]["bogus"] = {"type": "string"}
    ours["properties"]["cost"] = {"type": "string"}
    ours["required"].remove("env")
    found = differences(ours, theirs["Pod"], ours["$defs"], theirs, "Pod", answer=True)
    assert sorted(found) == ["Pod.bogus is not there", "Pod.cost: string here, number there", "Pod.env is required there"]


@pytest.mark.parametrize(
    "call",
    [
        "GET /v2/pods",
        "POST /v2/pods",
        "GET /v2/pods/{}",
        "DELETE /v2/pods/{}",
        "POST /v2/pods/{}/action",
        "GET /v2/pods/{}/logs",
        "GET /v2/catalog/gpus",
        "GET /v2/catalog/cpus",
        "GET /v2/network-volumes/{}",
        "GET /v2/billing/pods",
    ],
)
def test_a_call_is_the_vendors(contract: dict[str, Any], call: str) -> None:
    method, _, path = call.partition(" ")
    paths = {"/".join("{}" if part.startswith("{") else part for part in one.split("/")): said for one, said in contract["paths"].items()}
    assert method.lower() in paths[path]
