"""Reports as one HTML file each: no network, no JavaScript.

`run.write_report` writes a run's; `page.page` is what all pages share.
"""
