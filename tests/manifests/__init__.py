"""The Kubernetes manifests and the image: rendered without kubectl, validated, and held to the rules."""
