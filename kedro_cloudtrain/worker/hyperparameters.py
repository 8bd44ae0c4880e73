"""The hyperparameters of each library: a misspelt one is an error, and is never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import HyperparameterError, InputError, nearest
from .hyperparameter_conflicts import conflicts
from .hyperparameter_values import wrong_values
from .labels import by_label
from .objectives import other_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# The names that a recipe takes: each library's own, except those of data and files, which the recipe sets itself. XGBoost: "XGBoost
# Parameters" of its documentation (its Booster only warns of an unknown one); LightGBM: its parameter aliases; CatBoost: its
# estimators' constructors.
_XGBOOST = """
    alpha base_score booster colsample_bylevel colsample_bynode colsample_bytree device disable_default_eval_metric eta
    eval_metric expectile_alpha gamma grow_policy huber_slope interaction_constraints lambda learning_rate
    max_bin max_cached_hist_node max_cat_threshold max_cat_to_onehot max_delta_step max_depth max_leaves min_child_weight
    min_split_loss monotone_constraints multi_strategy n_estimators n_jobs normalize_type nthread num_boost_round
    num_parallel_tree objective one_drop quantile_alpha random_state rate_drop reg_alpha reg_lambda sample_type sampling_method
    scale_pos_weight seed seed_per_iteration skip_drop subsample tree_method tweedie_variance_power validate_parameters verbosity
"""
_LIGHTGBM = """
    alpha app application bagging bagging_by_query bagging_fraction bagging_fraction_seed bagging_freq bagging_seed
    bin_construct_sample_cnt boost boost_from_average boosting boosting_type bundle cat_l2 cat_smooth
    cegb_penalty_feature_coupled cegb_penalty_feature_lazy cegb_penalty_split cegb_tradeoff colsample_bynode colsample_bytree
    data_random_seed data_sample_strategy data_seed deterministic device device_type drop_rate drop_seed enable_bundle
    enable_sparse eta extra_seed extra_tree extra_trees fair_c fc feature_contri feature_contrib feature_fraction
    feature_fraction_bynode feature_fraction_seed feature_penalty force_col_wise force_row_wise forced_splits forced_splits_file
    forced_splits_filename forcedbins_filename forcedsplits_filename fp fs gpu_device_id gpu_platform_id gpu_use_dp
    hist_pool_size histogram_pool_size interaction_constraints is_enable_bundle is_enable_sparse is_sparse is_unbalance
    l1_regularization l2_regularization lambda lambda_l1 lambda_l2 learning_rate linear_lambda linear_tree linear_trees loss
    max_bin max_bin_by_feature max_bins max_cat_threshold max_cat_to_onehot max_delta_step max_depth max_drop max_iter max_leaf
    max_leaf_nodes max_leaf_output max_leaves max_tree_output mc mc_method mc_penalty metric metric_types metrics
    min_child_samples min_child_weight min_data min_data_in_bin min_data_in_leaf min_data_per_group min_data_per_leaf
    min_gain_to_split min_hessian min_samples_leaf min_split_gain min_sum_hessian min_sum_hessian_in_leaf
    min_sum_hessian_per_leaf monotone_constraining_method monotone_constraint monotone_constraints monotone_constraints_method
    monotone_penalty monotone_splits_penalty monotonic_cst ms_penalty n_estimators n_iter n_jobs neg_bagging
    neg_bagging_fraction neg_sub_row neg_subsample nrounds nthread nthreads num_boost_round num_gpu num_grad_quant_bins
    num_iteration num_iterations num_leaf num_leaves num_round num_rounds num_thread num_threads num_tree num_trees objective
    objective_seed objective_type other_rate path_smooth poisson_max_delta_step pos_bagging pos_bagging_fraction pos_sub_row
    pos_subsample quant_train_renew_leaf random_seed random_state rate_drop reg_alpha reg_lambda reg_sqrt scale_pos_weight seed
    shrinkage_rate sigmoid skip_drop sparse stochastic_rounding sub_feature sub_feature_bynode sub_row subsample
    subsample_for_bin subsample_freq top_k top_rate topk tree tree_learner tree_learner_type tree_type tweedie_variance_power
    unbalance unbalanced_sets uniform_drop use_missing use_quantized_grad verbose verbosity xgboost_dart_mode zero_as_missing
"""
_CATBOOST = """
    allow_const_label approx_on_full_history auto_class_weights bagging_temperature best_model_min_trees boost_from_average boosting_type
    bootstrap_type border_count class_weights colsample_bylevel combinations_ctr counter_calc_method ctr_description ctr_history_unit
    ctr_leaf_count_limit ctr_target_border_count custom_metric data_partition depth dev_efb_max_buckets
    dev_score_calc_obj_block_size device_config devices diffusion_temperature eta eval_metric feature_border_type
    feature_weights final_ctr_computation_mode first_feature_use_penalties fixed_binary_splits fold_len_multiplier fold_permutation_block
    gpu_cat_features_storage gpu_ram_part grow_policy has_time iterations l2_leaf_reg langevin leaf_estimation_backtracking
    leaf_estimation_iterations leaf_estimation_method learning_rate loss_function max_bin max_ctr_complexity max_depth
    max_leaves metric_period min_child_samples min_data_in_leaf model_shrink_mode model_shrink_rate model_size_reg monotone_constraints
    mvs_reg n_estimators nan_mode num_boost_round num_leaves num_trees objective one_hot_max_size penalties_coefficient
    pinned_memory_size posterior_sampling random_score_type random_seed random_state random_strength reg_lambda rsm
    sampling_frequency sampling_unit scale_pos_weight score_function simple_ctr sparse_features_conflict_fraction
    store_all_simple_ctr subsample target_border task_type thread_count used_ram_limit
"""
# The Keras recipes' own; the template shows what each does.
_KERAS = "hidden_units activation dropout l2 batch_normalization optimizer learning_rate epochs batch_size embedding_size"

HYPERPARAMETERS: Mapping[str, frozenset[str]] = {
    "xgboost": frozenset(_XGBOOST.split()),
    "lightgbm": frozenset(_LIGHTGBM.split()),
    "catboost": frozenset(_CATBOOST.split()),
    "keras": frozenset(_KERAS.split()),
}
MONOTONE = ("monotone_constraints", "monotone_constraint", "monotonic_cst", "mc")
# Hyperparameters with a value per feature, and the value of a feature that is not named.
_OF_A_FEATURE = {
    **dict.fromkeys(MONOTONE, 0),
    "feature_weights": 1,
    "first_feature_use_penalties": 0,
}
# Each line: names of one hyperparameter. If a user sets it by one name, a default under another would set it twice.
_SAME_TEXT = """
    n_estimators num_boost_round num_iterations num_iteration n_iter num_tree num_trees num_round num_rounds nrounds max_iter iterations
    learning_rate eta shrinkage_rate
    seed random_state random_seed
    device device_type task_type
    objective loss_function objective_type app application loss
    metric metrics metric_types eval_metric
    verbosity verbose
    max_depth depth
    reg_lambda lambda lambda_l2 l2_regularization l2_leaf_reg
    reg_alpha lambda_l1 l1_regularization
    gamma min_split_loss
    min_gain_to_split min_split_gain
    n_jobs nthread nthreads num_thread num_threads thread_count
    num_leaves num_leaf max_leaves max_leaf max_leaf_nodes
    min_data_in_leaf min_child_samples min_samples_leaf min_data min_data_per_leaf
    min_sum_hessian_in_leaf min_child_weight min_hessian min_sum_hessian min_sum_hessian_per_leaf
    bagging_fraction subsample sub_row bagging
    pos_bagging_fraction pos_bagging pos_sub_row pos_subsample
    neg_bagging_fraction neg_bagging neg_sub_row neg_subsample
    bagging_freq subsample_freq
    bagging_seed bagging_fraction_seed
    feature_fraction colsample_bytree sub_feature
    feature_fraction_bynode colsample_bynode sub_feature_bynode
    rsm colsample_bylevel
    max_bin max_bins border_count
    boosting boosting_type boost
    tree_learner tree_learner_type tree tree_type
    extra_trees extra_tree
    linear_tree linear_trees
    is_unbalance unbalance unbalanced_sets
    drop_rate rate_drop
    max_delta_step max_leaf_output max_tree_output
    monotone_constraints monotone_constraint monotonic_cst mc
    monotone_constraints_method mc_method monotone_constraining_method
    monotone_penalty mc_penalty monotone_splits_penalty ms_penalty
    data_random_seed data_seed
    feature_contri fc feature_contrib feature_penalty fp
    bin_construct_sample_cnt subsample_for_bin
    is_enable_sparse enable_sparse is_sparse sparse
    enable_bundle bundle is_enable_bundle
    histogram_pool_size hist_pool_size
    top_k topk
    forcedsplits_filename forced_splits forced_splits_file forced_splits_filename fs
"""
# The parameters of a training, each with the names by which a library or its users know it as a hyperparameter.
_PARAMETERS_TEXT = {
    "early_stopping_rounds": "early_stopping_round early_stopping n_iter_no_change od_wait",
    "categorical_columns": """
        cat_features cat_feature cat_column categorical_column categorical_feature categorical_features categorical_features_indices
        feature_types enable_categorical
    """,
    "class_weight": "",
    "weight_column": "weight weights sample_weight sample_weights",
}
# By these, XGBoost before 2.0 was given a GPU.
_CHOSE_GPU = ("gpu_id", "n_gpus", "predictor")
_PARAMETERS = {each: name for name, others in _PARAMETERS_TEXT.items() for each in (name, *others.split())}
_SAME = tuple(frozenset(line.split()) for line in _SAME_TEXT.strip().splitlines())
# LightGBM's `alpha` is that of its objective.
_SAME_TO_XGBOOST = frozenset({"alpha", "reg_alpha"})


def check_hyperparameters(library: str, names: Iterable[str], task: str | None = None) -> None:
    """Check hyperparameters against those that a library has.

    Args:
        library: xgboost, lightgbm, catboost or keras; it is not imported.
        names: the hyperparameters' names, or the hyperparameters.
        task: what the model learns; None where it is not known.

    Raises:
        HyperparameterError: with each unknown name and the most similar known one, two names of the same hyperparameter, a linear
            booster, each value that the library does not take, as far as the table of values has it, each pair that it refuses, and each
            that the task cannot have.
    """
    valid = HYPERPARAMETERS[library]
    given = dict(names) if isinstance(names, Mapping) else {}
    names = list(names)
    problems: list[str] = []
    if library == "xgboost" and given.get("booster") == "gblinear":
        problems.append(
            "`hyperparameters.booster` is gblinear, which reads categories as numbers and keeps no best round: use gbtree or dart."
        )
    for same in (*_SAME, *([_SAME_TO_XGBOOST] if library == "xgboost" else [])):
        twice = [f"`hyperparameters.{name}`" for name in names if name in same & valid]
        problems += [f"{' and '.join(twice)} are the same to {library}: keep one of them."] if len(twice) > 1 else []
    wrong = list(wrong_values(library, given))
    problems += wrong or [*conflicts(library, given), *(other_tasks(library, task, given) if task is not None else ())]
    for name in names:
        if name in valid:
            continue
        parameter = _PARAMETERS.get(name)
        if parameter == name:
            problems.append(f"`{name}` belongs beside `hyperparameters`, not in it: move it one level up.")
            continue
        if parameter is not None:
            problems.append(f"`hyperparameters.{name}` is `{parameter}` here, which stands beside `hyperparameters`: move it one level up.")
            continue
        if library == "xgboost" and name in _CHOSE_GPU:
            problems.append(f"`hyperparameters.{name}` is of XGBoost before 2.0: leave it out, a GPU is used where the machine has one.")
            continue
        close = nearest(name, valid)
        hint = f"Did you mean `{close}`?" if close else f"It has {', '.join(sorted(valid)[:12])}, …"
        problems.append(f"`hyperparameters.{name}` is not a hyperparameter of {library}. {hint}")
    if problems:
        raise HyperparameterError("\n".join(problems))


def by_place(library: str, hyperparameters: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Return hyperparameters with columns by their places: the matrix that a library gets has no names.

    Args:
        library: xgboost, lightgbm or catboost.
        hyperparameters: `monotone_constraints: {area: 1}` and `interaction_constraints: [[area, rooms]]` name columns.
        columns: the features, in the order of the matrix.

    Raises:
        HyperparameterError: a name is not that of a feature.
    """
    places = {column: place for place, column in enumerate(columns)}

    def place_of(hyperparameter: str, column: Any) -> int:
        if column not in places and isinstance(column, int) and 0 <= column < len(places):
            return column
        if str(column) not in places:
            close = nearest(str(column), places)
            hint = f" Did you mean `{close}`?" if close else f" The features are {', '.join(places)}."
            raise HyperparameterError(f"`hyperparameters.{hyperparameter}` names `{column}`, which is not a feature.{hint}")
        return places[str(column)]

    placed = dict(hyperparameters)
    for name, value in hyperparameters.items():
        if name in _OF_A_FEATURE and isinstance(value, Mapping):
            row = [_OF_A_FEATURE[name]] * len(columns)
            for column, each in value.items():
                row[place_of(name, column)] = each
            placed[name] = row
        elif name == "interaction_constraints" and isinstance(value, list):
            placed[name] = [[place_of(name, column) for column in group] for group in value]
        # XGBoost takes a list for neither of the two.
        if library == "xgboost" and name in ("monotone_constraints", "interaction_constraints") and isinstance(placed[name], list):
            placed[name] = tuple(placed[name]) if name == "monotone_constraints" else str(placed[name])
    return placed


def refuse_constrained_categories(placed: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
    """Check that no monotone constraint is on a category: LightGBM ends its process by it, CatBoost refuses it, XGBoost ignores the column.

    Args:
        placed: the hyperparameters, as `by_place` returns them.
        kinds: what each feature is, in the order of the matrix.

    Raises:
        HyperparameterError: names the feature.
    """
    for name, row in placed.items():
        if name in MONOTONE and isinstance(row, list | tuple):
            held = [column for (column, kind), sign in zip(kinds.items(), row, strict=False) if sign and kind == "category"]
            if held:
                raise HyperparameterError(
                    f"`hyperparameters.{name}` names `{held[0]}`, which is a category: its values have no order. Take it out, or make a "
                    "number of it in a node before."
                )


def named_columns(hyperparameters: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the columns that hyperparameters name, by the hyperparameter; a column's number is not one."""
    named: dict[str, list[str]] = {}
    for name, value in hyperparameters.items():
        columns: list[Any] = []
        if name in _OF_A_FEATURE and isinstance(value, Mapping):
            columns = list(value)
        elif name == "interaction_constraints" and isinstance(value, list):
            columns = [column for group in value if isinstance(group, list) for column in group]
        named[name] = [column for column in columns if isinstance(column, str)]
    return {name: columns for name, columns in named.items() if columns}


def by_class(hyperparameters: Mapping[str, Any], classes: Sequence[Any]) -> dict[str, Any]:
    """Return hyperparameters with classes by their codes: the target that a library gets has no labels.

    Args:
        hyperparameters: `class_weights: {adelie: 1, gentoo: 3}` names classes, of which one that is not named has the weight 1.
        classes: the labels, in the order of their codes.

    Raises:
        HyperparameterError: a name is not that of a class.
    """
    weights = hyperparameters.get("class_weights")
    if isinstance(weights, list | tuple) and classes and len(weights) != len(classes):
        raise HyperparameterError(
            f"`hyperparameters.class_weights` has {len(weights)} weights, and the target has {len(classes)} classes: give one for each."
        )
    if not isinstance(weights, Mapping):
        return dict(hyperparameters)
    if not classes:
        raise HyperparameterError("`hyperparameters.class_weights` is for a classification, and a regression has no classes: remove it.")
    try:
        return {**hyperparameters, "class_weights": by_label(weights, classes, "hyperparameters.class_weights")}
    except InputError as error:
        raise HyperparameterError(str(error)) from None


def with_defaults(hyperparameters: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """Add defaults to the given hyperparameters; a default that is given under another name is left out.

    So is a default metric beside an objective that is given: the library has the metric that belongs to it.

    Example:
        ```python
        with_defaults({"eta": 0.3}, learning_rate=0.1, seed=7)  # {"seed": 7, "eta": 0.3}
        ```
    """
    others = _synonyms("metric") if _synonyms("objective") & set(hyperparameters) else frozenset()
    kept = {name: value for name, value in defaults.items() if not (_synonyms(name) & set(hyperparameters)) and name not in others}
    return {**kept, **hyperparameters}


def take(hyperparameters: dict[str, Any], name: str, default: Any) -> Any:
    """Remove a hyperparameter from `hyperparameters`, whichever of its names it has, and return its value, or `default`."""
    value = default
    for synonym in _synonyms(name) & set(hyperparameters):
        value = hyperparameters.pop(synonym)
    return value


def _synonyms(name: str) -> frozenset[str]:
    return next((names for names in _SAME if name in names), frozenset({name}))
