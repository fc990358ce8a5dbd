"""GPUs and the machine as a sampler reads them.

`discover.open_readers` opens what is there; `reader.Reader` is what each vendor's reader can do.
"""
