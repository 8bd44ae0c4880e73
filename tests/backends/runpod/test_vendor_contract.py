"""The stand-in's schemas are the vendor's contract's, if the contract's file lies beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kedro_cloudtrain.rehearsal import cluster_schemas, schemas

CONTRACT = Path(__file__).parents[4] / "shared" / "runpod" / "openapi-v2.json"
REQUESTS = {
    "CreatePodRequest": schemas.CreatePodRequest,
    "CreateClusterRequest": cluster_schemas.CreateClusterRequest,
    "PodActionRequest": schemas.PodActionRequest,
}
ANSWERS = {
    "Pod": schemas.Pod,
    "ListPodsResponse": schemas.ListPodsResponse,
    "Cluster": cluster_schemas.Cluster,
    "ListClustersResponse": cluster_schemas.ListClustersResponse,
    "ListClusterBillingResponse": cluster_schemas.ListClusterBillingResponse,
    "ListGpuTypesResponse": schemas.ListGpuTypesResponse,
    "ListCpuTypesResponse": schemas.ListCpuTypesResponse,
    "NetworkVolume": schemas.NetworkVolume,
    "ListPodBillingResponse": schemas.ListPodBillingResponse,
    "ErrorResponse": schemas.ErrorResponse,
}


def flat(node: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without references, `allOf` and `anyOf`; one that may be null has `nullable`."""
    joined: dict[str, Any] = {name: value for name, value in node.items() if name not in ("$ref", "allOf", "anyOf")}
    parts = list(node.get("allOf", ()))
    if "$ref" in node:
        parts.append(definitions[node["$ref"].rsplit("/", 1)[1]])
    for option in node.get("anyOf", ()):
        if option.get("type") == "null":
            joined["nullable"] = True
        else:
            parts.append(option)
    for part in parts:
        more = flat(part, definitions)
        joined["properties"] = {**joined.get("properties", {}), **more.pop("properties", {})}
        joined["required"] = [*joined.get("required", []), *more.pop("required", [])]
        joined = {**more, **joined}
    if isinstance(joined.get("type"), list):
        joined["nullable"] = "null" in joined["type"]
        joined["type"] = next(kind for kind in joined["type"] if kind != "null")
    return joined


def differences(ours: Any, theirs: Any, our_defs: dict[str, Any], their_defs: dict[str, Any], at: str, *, answer: bool) -> list[str]:
    """Return where our schema differs from the vendor's."""
    our, their = flat(ours, our_defs), flat(theirs, their_defs)
    kinds = (our.get("type"), their.get("type"))
    if kinds[0] != kinds[1] and kinds != ("integer", "number") and "type" in their:
        return [f"{at}: ours is {kinds[0]}, theirs {kinds[1]}"]
    differing = []
    if answer and our.get("nullable") and not their.get("nullable") and at.rsplit(".", 1)[-1] in their.get("required", ()):
        differing.append(f"{at}: only ours may be null")
    if "enum" in their and set(our.get("enum", [our.get("const")])) - set(their["enum"]):
        differing.append(f"{at}: {our.get('enum')} is not within {their['enum']}")
    limits = ("minimum", "maximum", "minLength", "maxItems", "pattern")
    if not answer:
        differing += [
            f"{at}: our {limit} is {our.get(limit)}, theirs {their[limit]}"
            for limit in limits
            if limit in their and their[limit] != our.get(limit)
        ]
    if "items" in our and "items" in their:
        differing += differences(our["items"], their["items"], our_defs, their_defs, f"{at}[]", answer=answer)
    for name, inner in our.get("properties", {}).items():
        if name not in their.get("properties", {}):
            differing.append(f"{at}.{name} is not in theirs")
        else:
            differing += differences(inner, their["properties"][name], our_defs, their_defs, f"{at}.{name}", answer=answer)
    needed = set(their.get("required", ())) if answer or kinds[0] == "object" else set()
    differing += [f"{at}.{name} is required in theirs" for name in needed - set(our.get("required", ()))]
    return differing


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
    differing = differences(ours, theirs["Pod"], ours["$defs"], theirs, "Pod", answer=True)
    assert sorted(differing) == ["Pod.bogus is not in theirs", "Pod.cost: ours is string, theirs number", "Pod.env is required in theirs"]


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
        "GET /v2/clusters",
        "POST /v2/clusters",
        "GET /v2/clusters/{}",
        "GET /v2/clusters/{}/pods",
        "DELETE /v2/clusters/{}",
        "GET /v2/billing/clusters",
    ],
)
def test_a_call_is_the_vendors(contract: dict[str, Any], call: str) -> None:
    method, _, path = call.partition(" ")
    methods = {
        "/".join("{}" if part.startswith("{") else part for part in template.split("/")): of_path
        for template, of_path in contract["paths"].items()
    }
    assert method.lower() in methods[path]
