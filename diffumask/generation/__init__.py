"""Items planned, made here or on a cluster, and counted before that."""
