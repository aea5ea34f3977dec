"""A Kubernetes API server with a model of a cluster behind it: nodes, scheduler, kubelets, Deployments.

``model.Cluster`` has neither HTTP nor a clock of its own, so it runs in virtual time as well; ``python -m
tests.servers.kube`` puts it behind the API that the official client speaks, in real time.
"""
