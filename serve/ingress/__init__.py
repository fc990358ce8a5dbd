"""The way to the replicas: HAProxy, one small process that takes every connection.

`haproxy.open_ingress` starts it with the text of `haproxy_config.configure`; `asgi.Front` stands
before the replicas where Ray's own proxy is the way in.
"""
