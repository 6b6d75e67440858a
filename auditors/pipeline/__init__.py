"""An audit from plan to report: fit, sweep, score, decide, explain, write.

The only place that knows all of foretaste; what runs is read top down in `audit`.
"""
