"""What the operating system gives a run: processes, files, terminals. It knows no scenario.

`processes.Child` starts child processes, `child_environment.environ` is what they take from the
user; `terminal.show` and `terminal.complain` print.
"""
