"""One image server as a client sees it: its address, a connection, a request, an answer.

`image_client.ImageClient` sends, `response.check` judges, `target.ask_models` asks who is there.
"""
