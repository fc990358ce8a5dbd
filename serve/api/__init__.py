"""The wire contract: OpenAI's Images API.

`requests.parse` reads a request and `requests.ApiError` refuses one; `responses` has the bodies and
events, `failures` what is answered where no image came.
"""
