"""What a block of GPUs would do, by what was measured or published. Pure.

`evidence.estimate` is a GPU's rate, `block.extrapolate` a block's, `bill.bill_of` what it costs.
"""
