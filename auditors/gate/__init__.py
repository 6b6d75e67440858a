"""Whether a training job may read these bytes: a policy, and what it makes of a signed audit.

Imports neither torch nor pyarrow nor pydantic before it is asked about rows: it is the first line of a training job.
"""
