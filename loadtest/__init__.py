"""The crowd: replays a scenario against an image server and writes the record of the run."""
