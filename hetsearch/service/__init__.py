"""The light side over HTTP: a server, a client, a page. Needs ``hetsearch[serve]``; no torch.

``hetsearch serve`` runs the server; :func:`hetsearch.service.app.create_app` is the same as an ASGI application, and
:mod:`hetsearch.service.client` asks it.
"""
