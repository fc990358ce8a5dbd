"""Ray Serve's side: a replica that holds a model, and its HTTP routes.

`deployment.deploy` starts the replicas; `policies.engine_for` picks the engine of each.
"""
