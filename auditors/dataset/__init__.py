"""Reading what people bring: files and their digests, roles of columns, labels, Parquet shards, pictures, manifests.

Imports types, stats and what lies below them; `files` alone needs neither torch nor pyarrow, for the gate.
"""
