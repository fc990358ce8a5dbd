"""What a reader sees: words, pictures, pages.

`text.run.summary_text` is a run in words, `html.run.write_report` writes its page, and
`charts.svg.svg` draws.
"""
