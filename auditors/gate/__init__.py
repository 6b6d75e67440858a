"""The gate: whether a policy, applied to a signed audit, lets a training job read a dataset.

Imports neither torch nor pyarrow nor pydantic until rows are asked for, since a training job imports it first.
"""
