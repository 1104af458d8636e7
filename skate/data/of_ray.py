"""What Ray Data has and skate.data has not, and what to do instead: for the errors of programs that come from there."""

from __future__ import annotations

from ..exceptions import UnsupportedError

SHUFFLES = "Leave it out: shuffles, sorts and joins choose from the sizes how they go about it."
MEMORY = "memory_share and execution_options.resource_limits.object_store_memory bound the memory."
ALWAYS = "Leave it out: it is always so."
OWN = "Leave it out: it is about how Ray works inside."
PLACES = "Leave it out: tasks go to where their blocks are."
BARS = "enable_progress_bars turns them on and off."
RETRIES = "Say max_retries and retry_exceptions to map and map_batches, or set max_errored_blocks."
STATS = "Print Dataset.stats() after the execution."

ACTORS = "Leave it out: no actors take part in it here."
TORCH = "Leave it out: there is no shuffle on GPUs here."
NAMED = "Leave it out: names are whole, and bars are lines."
PANDAS = "Leave it out: blocks are Arrow tables, and a pandas batch has the types that pandas itself would give."
TENSORS = "Leave it out: arrays are columns of one length, or lists."
LIBRARY = "Leave it out: the library itself tries again, by its own settings."
SILENT = "Leave it out: what takes long says so by itself, and skate.why() says what it waits for."

SETTINGS = {
    **dict.fromkeys(
        (
            "use_push_based_shuffle", "shuffle_strategy", "shuffle_compression", "hash_shuffle_compression",
            "use_disk_based_hash_shuffle", "use_external_hash_shuffle", "max_hash_shuffle_aggregators",
            "min_hash_shuffle_aggregator_wait_time_in_s", "max_hash_shuffle_finalization_batch_size",
            "hash_shuffle_aggregator_health_warning_interval_s", "hash_shuffle_reduce_batch_size",
            "hash_shuffle_reduce_get_timeout_s", "shuffle_input_batch_bytes", "pipeline_push_based_shuffle_reduce_tasks",
        ),
        SHUFFLES,
    ),
    **dict.fromkeys(
        (
            "join_operator_actor_num_cpus_override", "hash_shuffle_operator_actor_num_cpus_override",
            "hash_aggregate_operator_actor_num_cpus_override",
        ),
        ACTORS,
    ),
    **dict.fromkeys(
        (
            "gpu_shuffle_num_actors", "gpu_shuffle_rmm_pool_size", "gpu_shuffle_spill_memory_limit",
            "gpu_shuffle_setup_timeout_s",
        ),
        TORCH,
    ),
    **dict.fromkeys(
        (
            "op_resource_reservation_enabled", "op_resource_reservation_ratio", "exclude_resources",
            "object_store_reservation_overshoot_ratio", "object_store_memory_pressure_fraction",
            "downstream_capacity_backpressure_ratio", "enable_dynamic_output_queue_size_backpressure",
            "output_backpressure_guard_release_interval_s", "default_map_logical_memory_enabled",
            "warn_on_driver_memory_usage_bytes", "memory_usage_poll_interval_s",
        ),
        MEMORY,
    ),
    **dict.fromkeys(
        (
            "enable_tensor_extension_casting", "use_arrow_tensor_v2", "arrow_fixed_shape_tensor_format",
            "batch_to_block_arrow_format",
        ),
        TENSORS,
    ),
    **dict.fromkeys(
        ("enable_pandas_block", "pandas_block_ignore_metadata", "enable_arrow_backed_pandas_conversion"), PANDAS
    ),
    **dict.fromkeys(
        (
            "enable_fallback_to_arrow_object_ext_type", "raise_original_map_exception", "log_internal_stack_trace",
            "enable_operator_progress_bars", "verbose_progress", "enforce_schemas", "s3_try_create_dir",
            "decoding_size_estimation", "enable_ray_data_reconstruction", "enable_per_node_metrics",
            "enable_stats_summary_collection", "is_resource_limits_default",
        ),
        ALWAYS,
    ),
    **dict.fromkeys(
        (
            "locality_with_output", "actor_locality_enabled", "scheduling_strategy", "scheduling_strategy_large_args",
            "large_args_threshold", "enable_get_object_locations_for_metrics",
        ),
        PLACES,
    ),
    **dict.fromkeys(("use_ray_tqdm", "enable_rich_progress_bars"), BARS),
    "enable_progress_bar_name_truncation": NAMED,
    **dict.fromkeys(
        (
            "retried_map_errors", "max_map_retries", "retried_io_errors", "actor_task_retry_on_errors",
            "actor_init_retry_on_errors", "actor_init_max_retries", "max_consecutive_actor_init_deaths",
            "write_file_retry_on_errors",
        ),
        RETRIES,
    ),
    **dict.fromkeys(("lance_config", "iceberg_config", "delta_config"), LIBRARY),
    **dict.fromkeys(
        (
            "enable_auto_log_stats", "verbose_stats_logs", "accurate_map_phase_timing", "per_stage_map_timing",
            "trace_allocations",
        ),
        STATS,
    ),
    **dict.fromkeys(("execution_no_progress_timeout_s", "issue_detectors_config"), SILENT),
    **dict.fromkeys(
        (
            "streaming_read_buffer_size", "target_min_block_size", "print_on_execution_start", "wait_for_min_actors_s",
            "actor_prefetcher_enabled", "autoscaling_config", "use_legacy_dataset_ids", "use_datasource_v2",
            "dataset_logger_id", "isolate_read_workers", "enable_lineage_reconstruction_resource_accounting",
        ),
        OWN,
    ),
    **dict.fromkeys(
        ("checkpoint_config", "execution_callback_classes", "custom_execution_callback_classes"),
        "It is not there: write in parts, with materialize() or write_parquet() between them.",
    ),
    "use_polars_sort": "It is use_polars here.",
    "default_hash_shuffle_parallelism": "It is shuffle_partitions here.",
    "min_parallelism": "It is read_op_min_num_blocks here.",
    "override_object_store_memory_limit_fraction": "It is memory_share here.",
    "max_tasks_in_flight_per_actor": "Leave it out: the next task's blocks are always at hand.",
    "label_selector": "Say it to the operators: map_batches(fn, label_selector=...), read_parquet(path, label_selector=...).",
}  # fmt: skip
"""Of `DataContext` and `ExecutionOptions`."""

READ = "Use read_datasource, or read_sql for what has a DB-API library."
FRAMES = "Go through from_arrow or from_pandas."
WRITE = "Use write_datasink, or write_sql for what has a DB-API library."
REFS = "Go through to_arrow_refs() or to_pandas()."

FUNCTIONS = {
    **dict.fromkeys(
        ("read_mongo", "read_bigquery", "read_snowflake", "read_clickhouse", "read_databricks_tables"), READ
    ),
    **dict.fromkeys(("read_hudi", "read_kafka", "read_zarr", "read_mcap", "read_lerobot"), READ),
    **dict.fromkeys(("KafkaAuthConfig", "ClickHouseTableSettings", "SinkMode"), READ),
    "read_delta_sharing_tables": "Load the shares with delta_sharing, and go through from_pandas.",
    **dict.fromkeys(
        (
            "read_unity_catalog",
            "Catalog",
            "CatalogAccessMode",
            "DatabricksUnityCatalog",
            "ReaderFormat",
            "ResolvedSource",
        ),
        "Ask the catalog for the table's path and credentials, and use read_delta, read_iceberg or read_parquet.",
    ),
    "RandomSeedConfig": "Give a seed itself: the same one gives the same rows at each execution.",
    "configure_logging": "Use the logging of Python: the loggers begin with 'skate.data'.",
    "list_stats_summaries": "Print Dataset.stats() after the execution.",
    **dict.fromkeys(
        ("ArrowTensorType", "ArrowVariableShapedTensorType"), "Use pyarrow.fixed_shape_tensor(), or lists."
    ),
    **dict.fromkeys(("read_audio", "read_videos"), "Use read_binary_files, and decode the bytes in map."),
    **dict.fromkeys(("from_dask", "from_spark", "from_modin", "from_mars", "from_daft"), FRAMES),
    "from_tf": "Go through from_items or from_numpy.",
}
"""Of the module."""

METHODS = {
    **dict.fromkeys(("write_mongo", "write_bigquery", "write_snowflake", "write_clickhouse", "write_kafka"), WRITE),
    **dict.fromkeys(("write_turbopuffer",), WRITE),
    **dict.fromkeys(("to_dask", "to_spark", "to_modin", "to_mars", "to_daft"), REFS),
    "to_torch": "Use iter_torch_batches().",
    "get_stats_summary": "Use stats().",
    **dict.fromkeys(
        ("get_internal_block_refs", "iter_internal_ref_bundles"),
        "Use to_arrow_refs() or iter_batches(batch_size=None).",
    ),
    **dict.fromkeys(("get_dataset_id", "map_batches_internal"), OWN),
    **dict.fromkeys(
        ("serialize_lineage", "deserialize_lineage", "has_serializable_lineage"), "Datasets can be pickled."
    ),
}
"""Of datasets and their iterators."""

FRAMES_METHODS = {
    "head": "take(n), show(n) or limit(n)",
    "tail": "take_all(), or sort the other way round and take(n)",
    "shape": "count() and columns()",
    "dtypes": "schema()",
    "describe": "summary()",
    "info": "schema() and count()",
    "collect": "take_all(), to_pandas() or to_polars()",
    "iterrows": "iter_rows()",
    "itertuples": "iter_rows()",
    "assign": "with_column(name, expr) or add_column(name, fn)",
    **dict.fromkeys(("apply", "transform", "pipe"), "map(fn) for rows, map_batches(fn) for frames and arrays"),
    "astype": 'with_column(name, col(name).cast("int64"))',
    "query": 'filter(expr="a > 1")',
    "where": "filter(expr=...)",
    "select": "select_columns(names)",
    "drop": "drop_columns(names)",
    "rename": "rename_columns({old: new})",
    "withColumn": "with_column(name, expr)",
    "with_row_index": "with_column(name, monotonically_increasing_id())",
    **dict.fromkeys(("sort_values", "orderBy", "order_by"), "sort(names)"),
    **dict.fromkeys(("group_by", "groupBy"), "groupby(names)"),
    "agg": "aggregate(Sum(name), ...)",
    "merge": 'join(other, "inner", on=names)',
    "concat": "union(other)",
    **dict.fromkeys(("dropna", "drop_nulls"), "filter(expr=col(name).is_not_null())"),
    **dict.fromkeys(("fillna", "fill_null"), "with_column(name, col(name).fill_null(value))"),
    **dict.fromkeys(
        ("drop_duplicates", "distinct"), "unique(name) for the values of a column, or groupby(names).count()"
    ),
    "nunique": "aggregate(CountDistinct(name))",
    "value_counts": "groupby(name).count()",
    "sample": "random_sample(fraction)",
    "explode": "flat_map(fn)",
    "median": "quantile(name, 0.5)",
    **{f"to_{each}": f"write_{each}(path)" for each in ("csv", "json", "parquet", "sql", "orc")},
    "toPandas": "to_pandas()",
}
"""What frames of pandas, Polars and Spark call it, and how it is said here."""


PREPROCESSORS = {"TorchVisionPreprocessor": "Use map_batches with the transform of torchvision."}
"""Of the module of that name."""


class NotInSkateError(UnsupportedError, AttributeError):
    """Ray Data has something of this name, and skate.data has not; the message says what to do instead."""


def instead(what: str, name: str, known: dict[str, str]) -> AttributeError:
    """The error for a name that is not there."""
    if name in known:
        return NotInSkateError(f"{what} has no {name!r}. {known[name]}")
    if known is METHODS and name in FRAMES_METHODS:
        return AttributeError(f"{what} has no {name!r}. Use {FRAMES_METHODS[name]}.")
    return AttributeError(f"{what} has no {name!r}")
