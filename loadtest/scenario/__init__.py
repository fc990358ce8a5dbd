"""scenario.toml as a checked value.

`scenario.parse_scenario` reads one; `session.Session` is its [session] and `session.scripts` draws
the people, `prompts.prompt_at` gives a request's words.
"""
