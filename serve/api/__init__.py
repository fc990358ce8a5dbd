"""The wire contract: OpenAI's Images API.

`requests.parse` reads a request and `requests.ApiError` refuses one; `responses.answer` is a body,
`failures.answer_to` what is answered where no image came.
"""
