"""What Ray Data has and skate.data has not, and what to do instead: for the errors of programs that come from there."""

from __future__ import annotations

SHUFFLES = "Leave it out: shuffles, sorts and joins choose from the sizes how they go about it."
MEMORY = "memory_share and execution_options.resource_limits.object_store_memory bound the memory."
ALWAYS = "Leave it out: it is always so."
OWN = "Leave it out: it is about how Ray works inside."
PLACES = "Leave it out: tasks go to where their blocks are."
BARS = "enable_progress_bars turns them on and off."
RETRIES = "Say max_retries and retry_exceptions to map and map_batches, or set max_errored_blocks."
STATS = "Print Dataset.stats() after the execution."

SETTINGS = {
    "use_push_based_shuffle": SHUFFLES,
    "shuffle_strategy": SHUFFLES,
    "shuffle_compression": SHUFFLES,
    "use_disk_based_hash_shuffle": SHUFFLES,
    "max_hash_shuffle_aggregators": SHUFFLES,
    "use_polars_sort": "It is use_polars here.",
    "default_hash_shuffle_parallelism": "It is shuffle_partitions here.",
    "min_parallelism": "It is read_op_min_num_blocks here.",
    "override_object_store_memory_limit_fraction": "It is memory_share here.",
    "op_resource_reservation_enabled": MEMORY,
    "op_resource_reservation_ratio": MEMORY,
    "exclude_resources": MEMORY,
    "enable_tensor_extension_casting": ALWAYS,
    "enable_fallback_to_arrow_object_ext_type": ALWAYS,
    "raise_original_map_exception": ALWAYS,
    "enable_operator_progress_bars": ALWAYS,
    "verbose_progress": ALWAYS,
    "locality_with_output": PLACES,
    "actor_locality_enabled": PLACES,
    "scheduling_strategy": PLACES,
    "use_ray_tqdm": BARS,
    "enable_rich_progress_bars": BARS,
    "retried_map_errors": RETRIES,
    "retried_io_errors": RETRIES,
    "actor_task_retry_on_errors": RETRIES,
    "enable_auto_log_stats": STATS,
    "verbose_stats_logs": STATS,
    "streaming_read_buffer_size": OWN,
    "target_min_block_size": OWN,
    "print_on_execution_start": OWN,
    "wait_for_min_actors_s": OWN,
    "actor_prefetcher_enabled": OWN,
    "max_tasks_in_flight_per_actor": "Leave it out: the next task's blocks are always at hand.",
}
"""Of `DataContext` and `ExecutionOptions`."""

READ = "Use read_datasource, or read_sql for what has a DB-API library."
FRAMES = "Go through from_arrow or from_pandas."
WRITE = "Use write_datasink, or write_sql for what has a DB-API library."
REFS = "Go through to_arrow_refs() or to_pandas()."

FUNCTIONS = {
    **dict.fromkeys(
        ("read_mongo", "read_bigquery", "read_snowflake", "read_clickhouse", "read_databricks_tables"), READ
    ),
    **dict.fromkeys(("read_lance", "read_hudi", "read_kafka", "read_zarr", "read_mcap", "read_lerobot"), READ),
    **dict.fromkeys(("read_delta_sharing_tables", "read_unity_catalog"), READ),
    **dict.fromkeys(("read_audio", "read_videos"), "Use read_binary_files, and decode the bytes in map."),
    **dict.fromkeys(("from_dask", "from_spark", "from_modin", "from_mars", "from_daft"), FRAMES),
    "from_tf": "Go through from_items or from_numpy.",
    "Preprocessor": "Use the transformers of scikit-learn in map_batches.",
    "preprocessors": "Use the transformers of scikit-learn in map_batches.",
}
"""Of the module."""

METHODS = {
    **dict.fromkeys(("write_mongo", "write_bigquery", "write_snowflake", "write_clickhouse", "write_kafka"), WRITE),
    **dict.fromkeys(("write_lance", "write_turbopuffer"), WRITE),
    **dict.fromkeys(("to_dask", "to_spark", "to_modin", "to_mars", "to_daft"), REFS),
    **dict.fromkeys(
        ("to_tf", "iter_tf_batches", "iter_jax_batches"), "Go through iter_batches(), which gives arrays of numpy."
    ),
    "to_torch": "Use iter_torch_batches().",
    "to_random_access_dataset": "Sort by the key, and keep the blocks in actors.",
    "get_stats_summary": "Use stats().",
    **dict.fromkeys(
        ("serialize_lineage", "deserialize_lineage", "has_serializable_lineage"), "Datasets can be pickled."
    ),
}
"""Of datasets and their iterators."""


def instead(what: str, name: str, known: dict[str, str]) -> AttributeError:
    """The error for a name that is not there."""
    return AttributeError(f"{what} has no {name!r}. {known[name]}" if name in known else f"{what} has no {name!r}")
