"""From a scenario to the exact schedule of a run.

`plan.make_plan` gives the schedule, `job.Job` what every generator is told, `text.plan_text` the
plan drawn for a terminal.
"""
