"""What the custom resources of other projects look like, as far as the manifests use them; a field not listed is refused.

Kubernetes' own kinds have published schemas; those of KEDA, Kueue and the Prometheus operator live in their clusters.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(required: str = "", **fields: Any) -> Schema:
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


def _list(items: Any, least: int = 1) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
DURATION: Schema = {"type": "string", "pattern": r"^([0-9]+[smhd])+$"}
SELECTOR = _object(
    matchLabels=TEXTS,
    matchExpressions=_list(_object("key operator", key=TEXT, operator=TEXT, values=_list(TEXT))),
)

_TRIGGER_METADATA: dict[str, Schema] = {
    "aws-sqs-queue": _object(
        "queueURLFromEnv queueLength awsRegion",
        queueURLFromEnv=TEXT,
        queueLength={"type": "string", "pattern": "^[0-9]+$"},
        awsRegion=TEXT,
        scaleOnInFlight={"enum": ["true", "false"]},
    ),
    "metrics-api": _object(
        "url valueLocation targetValue",
        url={"type": "string", "pattern": "^https?://"},
        format={"enum": ["json", "prometheus", "xml", "yaml"]},
        valueLocation=TEXT,
        targetValue={"type": "string", "pattern": "^[0-9.]+$"},
    ),
}
_TRIGGER = {
    "oneOf": [
        _object(
            "type metadata",
            type={"const": kind},
            name=TEXT,
            metadata=metadata,
            authenticationRef=_object("name", name=TEXT),
        )
        for kind, metadata in _TRIGGER_METADATA.items()
    ]
}
_SCALE_DOWN = _object(
    stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
    policies=_list(
        _object(
            "type value periodSeconds",
            type={"enum": ["Percent", "Pods"]},
            value={"type": "integer", "minimum": 1},
            periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800},
        )
    ),
)
_SCALED_OBJECT = _object(
    "scaleTargetRef triggers",
    scaleTargetRef=_object("name", name=TEXT),
    minReplicaCount=COUNT,
    maxReplicaCount=COUNT,
    pollingInterval=COUNT,
    cooldownPeriod=COUNT,
    advanced=_object(
        scalingModifiers=_object(
            "formula target", formula=TEXT, target=TEXT, metricType={"enum": ["AverageValue", "Value"]}
        ),
        horizontalPodAutoscalerConfig=_object(behavior=_object(scaleDown=_SCALE_DOWN, scaleUp=_SCALE_DOWN)),
    ),
    triggers=_list(_TRIGGER),
)
_ENDPOINT = _object("port", port=TEXT, path=TEXT, interval=DURATION)
_ALERT = _object(
    "alert expr labels annotations",
    **{"for": DURATION},
    alert={"type": "string", "pattern": "^Duplexforge[A-Za-z]+$"},
    expr=TEXT,
    labels=_object("severity", severity={"enum": ["critical", "warning", "info"]}),
    annotations=_object("summary description", summary=TEXT, description=TEXT),
)

SPECS: dict[tuple[str, str], Schema] = {
    ("keda.sh/v1alpha1", "ScaledObject"): _SCALED_OBJECT,
    ("keda.sh/v1alpha1", "TriggerAuthentication"): _object(podIdentity=_object("provider", provider={"enum": ["aws"]})),
    ("kueue.x-k8s.io/v1beta1", "LocalQueue"): _object("clusterQueue", clusterQueue=TEXT),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _object(
        "selector endpoints", selector=SELECTOR, endpoints=_list(_ENDPOINT)
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): _object(
        "selector podMetricsEndpoints", selector=SELECTOR, podMetricsEndpoints=_list(_ENDPOINT)
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _object(
        "groups", groups=_list(_object("name rules", name=TEXT, rules=_list(_ALERT)))
    ),
}
META = _object("name labels", name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)


def schema(api_version: str, kind: str) -> Schema:
    """The schema of a custom resource; KeyError for one that nobody described."""
    fields = {"apiVersion": {"const": api_version}, "kind": {"const": kind}, "metadata": META}
    return _object("apiVersion kind metadata spec", **fields, spec=SPECS[api_version, kind])
