"""What Render allows in a blueprint, as far as ours need it.

Written down from Render's published reference (https://render.com/docs/blueprint-spec) and a copy of its JSON schema
(https://render.com/schema/render.yaml.json), read in November 2026: names of fields, values, ranges, and that a field
which is not named is refused. Of services only web, worker and pserv; no cron, static or Key Value.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 1}
FLAG = {"type": "boolean"}
SCALAR = {"type": ["string", "number"]}


def fields(required: tuple[str, ...], **known: Any) -> dict[str, Any]:
    return {"type": "object", "properties": known, "required": list(required), "additionalProperties": False}


def one_of(*values: str) -> dict[str, Any]:
    return {"enum": list(values)}


def list_of(what: Any) -> dict[str, Any]:
    return {"type": "array", "items": what}


PLAN = one_of("free", "starter", "standard", "pro", "pro plus", "pro max", "pro ultra")
DATABASE_PLAN = one_of("free", "basic-256mb", "basic-1gb", "basic-4gb", "pro-4gb", "pro-8gb", "pro-16gb", "pro-32gb")
REGION = one_of("oregon", "ohio", "frankfurt", "singapore", "virginia")
PERCENT = {"type": "integer", "minimum": 1, "maximum": 90}
CREDENTIAL = fields(("fromRegistryCreds",), fromRegistryCreds=fields(("name",), name=TEXT))
ENV_VAR = {
    "oneOf": [
        fields(("key",), key=TEXT, value=SCALAR, generateValue=FLAG, sync=FLAG, previewValue=SCALAR),
        fields(
            ("key", "fromDatabase"),
            key=TEXT,
            fromDatabase=fields(
                ("name", "property"),
                name=TEXT,
                property=one_of(
                    "connectionString", "connectionPoolString", "host", "port", "user", "password", "database"
                ),
            ),
        ),
        fields(
            ("key", "fromService"),
            key=TEXT,
            fromService=fields(
                ("name", "type"),
                name=TEXT,
                type=one_of("web", "worker", "pserv", "keyvalue"),
                property=one_of("host", "port", "hostport", "connectionString"),
                envVarKey=TEXT,
            ),
        ),
        fields(("fromGroup",), fromGroup=TEXT),
    ]
}
SERVICE = fields(
    ("type", "name", "runtime"),
    type=one_of("web", "worker", "pserv"),
    name=TEXT,
    runtime=one_of("docker", "image", "python"),
    region=REGION,
    plan=PLAN,
    repo=TEXT,
    branch=TEXT,
    rootDir=TEXT,
    image=fields(("url",), url=TEXT, creds=CREDENTIAL),
    registryCredential=CREDENTIAL,
    dockerfilePath=TEXT,
    dockerContext=TEXT,
    dockerCommand=TEXT,
    buildCommand=TEXT,
    startCommand=TEXT,
    preDeployCommand=TEXT,
    initialDeployHook=TEXT,
    healthCheckPath=TEXT,
    numInstances=COUNT,
    scaling=fields(
        ("minInstances", "maxInstances"),
        minInstances=COUNT,
        maxInstances=COUNT,
        targetCPUPercent=PERCENT,
        targetMemoryPercent=PERCENT,
    ),
    maxShutdownDelaySeconds={"type": "integer", "minimum": 1, "maximum": 300},
    autoDeployTrigger=one_of("off", "commit", "checksPass"),
    buildFilter=fields((), paths=list_of(TEXT), ignoredPaths=list_of(TEXT)),
    disk=fields(("name", "mountPath"), name=TEXT, mountPath=TEXT, sizeGB=COUNT),
    envVars=list_of(ENV_VAR),
)
DATABASE = fields(
    ("name",),
    name=TEXT,
    databaseName=TEXT,
    user=TEXT,
    region=REGION,
    plan=DATABASE_PLAN,
    postgresMajorVersion=one_of("14", "15", "16", "17", "18"),
    connectionPool=one_of("pgbouncer", "none"),
    ipAllowList=list_of(fields(("source",), source=TEXT, description=TEXT)),
)
BLUEPRINT = fields(
    ("services",),
    services=list_of(SERVICE),
    databases=list_of(DATABASE),
    envVarGroups=list_of(fields(("name", "envVars"), name=TEXT, envVars=list_of(ENV_VAR))),
)
