"""Reading datasets: files and their digests, column roles, labels, Parquet shards, pictures, manifests.

Imports types, stats and the layers below them; `files` needs neither torch nor pyarrow, because the gate imports it.
"""
