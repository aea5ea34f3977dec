"""``python -m tests.manifests.write``: render ``examples/emiliapipe.yaml`` and its neighbours from ``k8s/``.

They are for people who want one file to read and apply; ``test_examples.py`` checks that they are what the tree says.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.manifests.kustomize import Object
from tests.manifests.tree import EXAMPLES, K8S, ROOT, rendered

_HEAD = """\
# {title}, rendered from k8s/examples/{name} by
#   python -m tests.manifests.write
# Change it there. Another namespace: change it in every object below. Before it can start:
#   kubectl create namespace duplexforge
#   kubectl --namespace duplexforge create secret generic duplexforge-store --from-literal=R2_ENDPOINT_URL=... \\
#     --from-literal=R2_BUCKET=... --from-literal=R2_ACCESS_KEY_ID=... --from-literal=R2_SECRET_ACCESS_KEY=...
"""
# What others refer to comes first.
_ORDER = [
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "NetworkPolicy",
    "Service",
    "Deployment",
    "Job",
]


def text(name: str) -> str:
    """The example's whole file."""
    objects = sorted(rendered(K8S / "examples" / name), key=lambda one: _ORDER.index(one["kind"]))
    title = EXAMPLES[name]
    return _HEAD.format(title=title[0].upper() + title[1:], name=name) + "---\n".join(map(_dumped, objects))


def _dumped(one: Object) -> str:
    # Commands on one line, as people write them; keys in the order of the source.
    return str(yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True))


class _Dumper(yaml.SafeDumper):
    """Lists of words on one line, other lists indented under their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """As the base class does, with lists indented."""
        super().increase_indent(flow, indentless=False)


def _list(dumper: yaml.SafeDumper, values: list[object]) -> yaml.Node:
    return dumper.represent_sequence(
        "tag:yaml.org,2002:seq", values, flow_style=all(isinstance(v, str) for v in values)
    )


_Dumper.add_representer(list, _list)


def target(name: str) -> Path:
    """Where an example is kept."""
    return ROOT / "examples" / f"{name}.yaml"


if __name__ == "__main__":
    for example in EXAMPLES:
        target(example).write_text(text(example), encoding="utf-8")
        print(target(example).relative_to(ROOT))
