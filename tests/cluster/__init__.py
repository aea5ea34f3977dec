"""The autokicker against clusters: one list of scenarios, run in virtual time, over HTTP, and on a real control plane."""
