"""Every name of Ray Data 2.60 is there, or its absence says what to do instead."""

from __future__ import annotations

from typing import Any

import pytest

import skate.data as data
from skate.data import aggregate, expressions
from skate.data.of_ray import NotInSkateError
from skate.exceptions import UnsupportedError

FUNCTIONS = """
ActorPoolStrategy ArrowTensorType ArrowVariableShapedTensorType BlockBasedFileDatasink Catalog CatalogAccessMode
ClickHouseTableSettings DataContext DataIterator DatabricksUnityCatalog Dataset DatasetContext DatasetIterator
DatasetSummary Datasink Datasource ExecutionOptions ExecutionResources FileShuffleConfig KafkaAuthConfig
MixStoppingCondition Preprocessor RandomSeedConfig ReadTask ReaderFormat ResolvedSource RowBasedFileDatasink SaveMode
Schema SinkMode TaskPoolStrategy configure_logging from_arrow from_arrow_refs from_blocks from_daft from_dask
from_huggingface from_items from_mars from_modin from_numpy from_numpy_refs from_pandas from_pandas_refs from_spark
from_tf from_torch list_stats_summaries range range_tensor read_audio read_avro read_bigquery read_binary_files
read_clickhouse read_csv read_databricks_tables read_datasource read_delta read_delta_sharing_tables read_hudi
read_iceberg read_images read_json read_kafka read_lance read_lerobot read_mcap read_mongo read_numpy read_orc
read_parquet read_snowflake read_sql read_text read_tfrecords read_unity_catalog read_videos read_webdataset read_zarr
"""
METHODS = """
add_column aggregate columns context copy count deserialize_lineage drop_columns explain filter flat_map get_dataset_id
get_internal_block_refs get_stats_summary groupby has_serializable_lineage input_files iter_batches
iter_internal_ref_bundles iter_jax_batches iter_rows iter_tf_batches iter_torch_batches iterator join limit map
map_batches map_batches_internal materialize max mean min mix name num_blocks random_sample random_shuffle
randomize_block_order rename_columns repartition schema select_columns serialize_lineage set_name show size_bytes sort
split split_at_indices split_proportionately stats std streaming_split streaming_train_test_split sum summary take
take_all take_batch to_arrow_refs to_daft to_dask to_mars to_modin to_numpy_refs to_pandas to_pandas_refs
to_random_access_dataset to_spark to_tf train_test_split union unique with_column with_columns write_bigquery
write_clickhouse write_csv write_datasink write_delta write_iceberg write_images write_json write_kafka write_lance
write_mongo write_numpy write_orc write_parquet write_snowflake write_sql write_tfrecords write_turbopuffer
write_webdataset zip
"""
ITERATOR = """
get_context iter_batches iter_jax_batches iter_rows iter_tf_batches iter_torch_batches materialize schema stats to_tf
to_torch
"""
GROUPED = """
aggregate count map_groups max mean min std sum with_column
"""
SETTINGS = """
accurate_map_phase_timing actor_init_max_retries actor_init_retry_on_errors actor_prefetcher_enabled
actor_task_retry_on_errors arrow_fixed_shape_tensor_format autoscaling_config batch_to_block_arrow_format
checkpoint_config copy custom_execution_callback_classes dataset_logger_id decoding_size_estimation
default_hash_shuffle_parallelism default_map_logical_memory_enabled delta_config downstream_capacity_backpressure_ratio
enable_arrow_backed_pandas_conversion enable_auto_log_stats enable_dynamic_output_queue_size_backpressure
enable_fallback_to_arrow_object_ext_type enable_get_object_locations_for_metrics
enable_lineage_reconstruction_resource_accounting enable_operator_progress_bars enable_pandas_block
enable_per_node_metrics enable_progress_bar_name_truncation enable_progress_bars enable_ray_data_reconstruction
enable_rich_progress_bars enable_stats_summary_collection enable_tensor_extension_casting enforce_schemas
execution_callback_classes execution_no_progress_timeout_s execution_options get_config get_current
gpu_shuffle_num_actors gpu_shuffle_rmm_pool_size gpu_shuffle_setup_timeout_s gpu_shuffle_spill_memory_limit
hash_aggregate_operator_actor_num_cpus_override hash_shuffle_aggregator_health_warning_interval_s
hash_shuffle_compression hash_shuffle_operator_actor_num_cpus_override hash_shuffle_reduce_batch_size
hash_shuffle_reduce_get_timeout_s iceberg_config isolate_read_workers issue_detectors_config
join_operator_actor_num_cpus_override lance_config large_args_threshold log_internal_stack_trace
max_consecutive_actor_init_deaths max_errored_blocks max_hash_shuffle_aggregators
max_hash_shuffle_finalization_batch_size max_map_retries max_tasks_in_flight_per_actor memory_usage_poll_interval_s
min_hash_shuffle_aggregator_wait_time_in_s min_parallelism object_store_memory_pressure_fraction
object_store_reservation_overshoot_ratio op_resource_reservation_enabled op_resource_reservation_ratio
output_backpressure_guard_release_interval_s override_object_store_memory_limit_fraction pandas_block_ignore_metadata
per_stage_map_timing pipeline_push_based_shuffle_reduce_tasks print_on_execution_start raise_original_map_exception
read_op_min_num_blocks remove_config retried_io_errors retried_map_errors s3_try_create_dir scheduling_strategy
scheduling_strategy_large_args set_config shuffle_compression shuffle_input_batch_bytes shuffle_strategy
streaming_read_buffer_size target_max_block_size target_min_block_size trace_allocations use_arrow_tensor_v2
use_datasource_v2 use_disk_based_hash_shuffle use_external_hash_shuffle use_legacy_dataset_ids use_polars
use_polars_sort use_push_based_shuffle use_ray_tqdm verbose_stats_logs wait_for_min_actors_s
warn_on_driver_memory_usage_bytes write_file_retry_on_errors
"""
OPTIONS = """
actor_locality_enabled exclude_resources is_resource_limits_default locality_with_output resource_limits
"""
AGGREGATIONS = """
AbsMax AggregateFn AggregateFnV2 ApproximateQuantile ApproximateTopK AsList Count CountDistinct Max Mean Min
MissingValuePercentage Quantile Std Sum Unique ValueCounter VectorizedAggregateFnV2 ZeroPercentage
"""
EXPRESSIONS = """
col download lit monotonically_increasing_id pyarrow_udf random star udf unnest uuid
"""
NAMESPACES = {
    "str": """
byte_len capitalize center contains count count_regex ends_with extract find find_regex is_alnum is_alpha is_ascii
is_decimal is_digit is_lower is_numeric is_printable is_space is_title is_upper len lower lpad lstrip match match_regex
pad repeat replace replace_regex replace_slice reverse rpad rstrip slice split split_regex split_whitespace starts_with
strip swapcase title upper
""",
    "list": """
flatten get len slice sort
""",
    "struct": """
field field_by_index
""",
    "dt": """
ceil day floor hour minute month round second strftime year
""",
    "arr": """
to_list
""",
    "map": """
keys values
""",
}


def check(owner: Any, names: str) -> None:
    """Each is there, or the error says more than that it is not."""
    for name in names.split():
        try:
            getattr(owner, name)
        except NotInSkateError as error:
            assert isinstance(error, UnsupportedError) and str(error).count(".") > 1


def test_functions_and_classes() -> None:
    check(data, FUNCTIONS)
    check(aggregate, AGGREGATIONS)
    check(expressions, EXPRESSIONS)
    for name, names in NAMESPACES.items():
        check(getattr(data.col("a"), name), names)


def test_methods() -> None:
    check(data.range(1), METHODS)
    check(data.range(1).iterator(), ITERATOR)
    check(data.range(1).groupby("id"), GROUPED)


def test_settings() -> None:
    context = data.DataContext.get_current()
    check(context, SETTINGS)
    check(context.execution_options, OPTIONS)
    with pytest.raises(NotInSkateError, match="It is use_polars here"):
        context.use_polars_sort = True
    with pytest.raises(AttributeError, match="Did you mean 'use_polars'"):
        context.use_polar = True


def test_values_of_users_own() -> None:
    context = data.DataContext.get_current()
    context.set_config("mine", 3)
    try:
        copy = context.copy()
        context.set_config("mine", 4)
        assert copy.get_config("mine") == 3 and data.range(1).context.get_config("mine") == 4
    finally:
        context.remove_config("mine")
    assert context.get_config("mine", "none") == "none"


def test_modules_that_are_loaded_late() -> None:
    assert data.preprocessors.Chain and data.datasource.Partitioning is data.Partitioning
