"""An audit from plan to report: fit, sweep, score, decide, explain, write.

The only package that imports all the others; `audit` shows the stages in their order.
"""
