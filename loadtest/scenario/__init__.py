"""scenario.toml as a checked value.

`scenario.parse_scenario` reads one; `session` is its [session], `prompts` what is asked for.
"""
