"""The values that each library's common hyperparameters take: a wrong one is found before a machine is paid for."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from typing import TYPE_CHECKING, Any

from .errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# Each line: the names of one hyperparameter, then what it takes. `whole`, `number` and `flag` are kinds, `?` also takes null, `"` also
# takes a number that is written as text; an interval has the limits, `[` with and `(` without its end. `one of` takes these words alone.
# `like` takes any text, but one that is near to these words without being one of them is misspelt: other releases have others. `signs`
# are -1, 0 and 1, one for each feature, and `weights` numbers from 0 on, one for each class. A line that ends in `if NAME WORD` is held
# only beside that hyperparameter: without it the library takes any number. One that ends in `or WORD` takes that word as well.
#
# XGBoost: the declarations of its `TrainParam`, `GBTreeTrainParam` and `LearnerTrainParam` (src/tree/param.h, src/gbm/gbtree.h,
# src/learner.cc), as "XGBoost Parameters" of its documentation has them.
_XGBOOST = """
    n_estimators num_boost_round                                    whole [0,
    learning_rate eta gamma min_split_loss min_child_weight         number?" [0,
    max_delta_step reg_lambda lambda reg_alpha alpha                number?" [0,
    scale_pos_weight                                                number?" [0,
    base_score                                                      number?" (
    subsample colsample_bytree colsample_bylevel colsample_bynode   number?" [0,1]
    max_depth max_leaves                                            whole?" [0,
    max_bin                                                         whole? [2,
    num_parallel_tree max_cat_threshold                             whole?" [1,
    max_cat_to_onehot max_cached_hist_node                          whole?" [1,
    rate_drop skip_drop                                             number?" [0,1] if booster dart
    tweedie_variance_power                                          number?" [1,2] if objective reg:tweedie
    monotone_constraints                                            signs?
    device  like cpu cuda gpu sycl
    eval_metric  like? rmse rmsle mae mape mphe logloss error merror mlogloss auc aucpr pre ndcg map poisson-nloglik gamma-nloglik \
        cox-nloglik gamma-deviance tweedie-nloglik aft-nloglik interval-regression-accuracy quantile expectile ams
    seed random_state n_jobs nthread                                whole?" (
    verbosity                                                       whole?" [0,3]
    booster                                                         one of gbtree dart gblinear
    tree_method                                                     one of auto approx exact hist
    grow_policy                                                     one of depthwise lossguide
    sampling_method                                                 one of uniform gradient_based
    multi_strategy                                                  one of one_output_per_tree multi_output_tree
    objective  like? reg:squarederror reg:squaredlogerror reg:logistic reg:pseudohubererror reg:absoluteerror reg:quantileerror \
        reg:expectileerror reg:gamma reg:tweedie binary:logistic binary:logitraw binary:hinge count:poisson survival:cox survival:aft \
        multi:softmax multi:softprob rank:ndcg rank:map rank:pairwise
"""
# LightGBM: "Parameters" of its documentation, which is made of the checks in include/LightGBM/config.h.
_LIGHTGBM = """
    n_estimators num_boost_round num_iterations num_iteration       whole [1,
    n_iter num_tree num_trees num_round num_rounds nrounds max_iter whole [1,
    num_leaves num_leaf max_leaves max_leaf max_leaf_nodes          whole?" [2,131072]
    max_depth bagging_freq subsample_freq num_threads n_jobs        whole?" (
    seed random_state random_seed verbosity verbose                 whole?" (
    learning_rate shrinkage_rate eta                                number?" (0,
    min_data_in_leaf min_child_samples min_samples_leaf min_data    whole?" [0,
    min_sum_hessian_in_leaf min_child_weight min_gain_to_split      number?" [0,
    min_split_gain reg_alpha lambda_l1 l1_regularization            number?" [0,
    reg_lambda lambda_l2 lambda l2_regularization                   number?" [0,
    bagging_fraction subsample sub_row bagging                      number?" (0,1]
    feature_fraction colsample_bytree sub_feature                   number?" (0,1]
    feature_fraction_bynode colsample_bynode sub_feature_bynode     number?" (0,1]
    max_bin max_bins                                                whole?" [2,
    min_data_in_bin min_data_per_group max_cat_threshold            whole?" [1,
    max_cat_to_onehot bin_construct_sample_cnt subsample_for_bin    whole?" [1,
    cat_smooth cat_l2 path_smooth                                   number?" [0,
    drop_rate rate_drop skip_drop top_rate other_rate               number?" [0,1]
    pos_bagging_fraction neg_bagging_fraction                       number?" (0,1]
    alpha fair_c poisson_max_delta_step                             number?" (0,
    tweedie_variance_power                                          number?" [1,2)
    monotone_penalty cegb_tradeoff cegb_penalty_split linear_lambda number?" [0,
    top_k topk num_gpu                                              whole?" [1,
    monotone_constraints mc monotone_constraint monotonic_cst       signs?
    deterministic boost_from_average                                flag?"
    monotone_constraints_method monotone_constraining_method mc_method  one of basic intermediate advanced
    metric metrics metric_types  like? l1 mean_absolute_error mae regression_l1 l2 mean_squared_error mse regression_l2 regression rmse \
        root_mean_squared_error l2_root quantile mape mean_absolute_percentage_error huber fair poisson gamma gamma_deviance tweedie \
        ndcg lambdarank rank_xendcg xendcg map mean_average_precision auc average_precision binary_logloss binary binary_error auc_mu \
        multi_logloss multiclass softmax multiclassova multiclass_ova ova ovr multi_error cross_entropy xentropy cross_entropy_lambda \
        xentlambda kullback_leibler kldiv r2 none null custom na
    device_type device  like cpu gpu cuda
    scale_pos_weight sigmoid                                        number?" (0,
    max_delta_step                                                  number?" (
    extra_trees extra_tree linear_tree is_unbalance unbalance       flag?"
    boosting boosting_type boost           one of gbdt gbrt dart rf random_forest goss
    data_sample_strategy                   one of bagging goss
    tree_learner tree_learner_type         one of serial feature feature_parallel data data_parallel voting voting_parallel
    objective objective_type app application loss  like? regression regression_l2 l2 mean_squared_error mse l2_root \
        root_mean_squared_error rmse regression_l1 l1 mean_absolute_error mae huber fair poisson quantile mape \
        mean_absolute_percentage_error gamma tweedie binary multiclass softmax multiclassova multiclass_ova ova ovr cross_entropy \
        xentropy cross_entropy_lambda xentlambda lambdarank rank_xendcg xendcg none null custom na
"""
# CatBoost: "Training parameters" of its documentation, and the checks in catboost/private/libs/options.
_CATBOOST = """
    iterations n_estimators num_boost_round num_trees               whole [1,
    depth max_depth                                                 whole? [0,16]
    learning_rate eta                                               number? (0,
    l2_leaf_reg reg_lambda mvs_reg                                  number? [0,
    random_strength                                                 number (
    bagging_temperature diffusion_temperature                       number [0,
    border_count max_bin                                            whole? [1,65535]
    one_hot_max_size                                                whole [0,65535]
    subsample                                                       number (0,1]
    rsm colsample_bylevel                                           number? (0,1]
    min_data_in_leaf min_child_samples                              number? (
    leaf_estimation_iterations                                      whole [1,
    fold_len_multiplier                                             number (1,
    max_ctr_complexity                                              whole [0,15]
    random_seed random_state                                        whole? [0,
    has_time langevin                                               flag
    grow_policy                       one of SymmetricTree Depthwise Lossguide Region
    bootstrap_type                    one of Bayesian Bernoulli MVS Poisson No
    boosting_type                     one of Ordered Plain
    nan_mode                          one of Forbidden Min Max
    leaf_estimation_method            one of Newton Gradient Exact Simple
    metric_period                     whole [1,
    auto_class_weights                one of Balanced SqrtBalanced None
    task_type                         one of GPU CPU
    feature_border_type               one of Median GreedyLogSum UniformAndQuantiles MinEntropy MaxLogSum Uniform GreedyMinEntropy
    counter_calc_method               one of Full SkipTest
    model_shrink_mode                 one of Constant Decreasing
    sampling_unit                     one of Object Group
    class_weights                     weights
    monotone_constraints              signs
    scale_pos_weight penalties_coefficient                          number [0,
    eval_metric custom_metric  like? Logloss CrossEntropy CtrFactor Focal RMSE LogCosh Lq MAE Quantile MultiQuantile Expectile \
        LogLinQuantile MAPE Poisson MSLE MedianAbsoluteError SMAPE Huber Tweedie Cox RMSPE RMSEWithUncertainty MultiClass \
        MultiClassOneVsAll PairLogit PairLogitPairwise YetiRank YetiRankPairwise QueryRMSE GroupQuantile QuerySoftMax R2 NumErrors \
        FairLoss AUC Accuracy BalancedAccuracy BalancedErrorRate BrierScore Precision Recall F1 TotalF1 F MCC ZeroOneLoss HammingLoss \
        HingeLoss Kappa WKappa LogLikelihoodOfPrediction NormalizedGini PRAUC PairAccuracy AverageGain QueryAverage QueryAUC PFound \
        PrecisionAt RecallAt MAP NDCG DCG FilteredDCG MRR ERR SurvivalAft MultiRMSE MultiRMSEWithMissingValues MultiLogloss \
        MultiCrossEntropy Combination
    score_function                    one of Cosine L2 NewtonCosine NewtonL2 LOOL2 SatL2 SolarL2
    sampling_frequency                one of PerTree PerTreeLevel
    loss_function objective  like? RMSE MAE MAPE Poisson Quantile MultiQuantile LogLinQuantile LogCosh Lq Expectile Tweedie Huber RMSPE \
        RMSEWithUncertainty MultiRMSE MultiLogloss MultiCrossEntropy Logloss CrossEntropy Focal MultiClass MultiClassOneVsAll
"""
# The Keras recipes' own names, whose values no library checks; the words are those of keras.optimizers and keras.activations.
_KERAS = """
    epochs embedding_size                                           whole [1,
    batch_size                                                      whole [1, or auto
    dropout                                                         number [0,1)
    l2                                                              number [0,
    learning_rate                                                   number (0,
    batch_normalization                                             flag
    hidden_units                                                    wholes [1,
    activation  like relu leaky_relu relu6 softmax celu elu selu softplus softsign squareplus soft_shrink sparse_plus silu swish gelu glu \
        log_softmax tanh tanh_shrink sigmoid sparse_sigmoid exponential hard_sigmoid hard_silu hard_swish hard_tanh hard_shrink linear \
        mish log_sigmoid sparsemax threshold
    optimizer  like adam adamw adamax adagrad adadelta adafactor nadam sgd rmsprop ftrl lion lamb muon
"""
# What XGBoost before 2.0 had, with what does it now.
_HIST = "Use hist: it runs on the GPU where the machine has one."
_OUTDATED = {("xgboost", "tree_method", "gpu_hist"): _HIST, ("xgboost", "tree_method", "gpu_exact"): _HIST}
_TEXTS = {"xgboost": _XGBOOST, "lightgbm": _LIGHTGBM, "catboost": _CATBOOST, "keras": _KERAS}
_LINE = re.compile(
    r'(?P<names>[\w ]+?)  *(?P<kind>wholes|whole|number|flag|signs|weights|one of|like)(?P<marks>[?"]*)(?: (?P<rest>.*?))?'
    r"(?: or (?P<also>\w+))?(?: if (?P<beside>\w+) (?P<word>\S+))?"
)
_WHOLE_TEXT = re.compile(r"[+-]?\d+")
_FLAG_TEXTS = ("true", "false", "+", "-")
_PHRASES = {
    "flag": "true or false",
    "signs": "1 (rising), -1 (falling) or 0 for each feature",
    "weights": "a number from 0 on for each class, not all of them 0",
}
_SHORT = 3


@dataclasses.dataclass(frozen=True)
class Values:
    """The values that a hyperparameter takes.

    Attributes:
        kind: `whole`, `number`, `flag`, `wholes` (a list), `signs`, `weights`, `one of` or `like`.
        low: the lowest number, or the number above which all are.
        high: the highest number, or the number below which all are.
        open_low: whether `low` itself is left out.
        open_high: whether `high` itself is left out.
        words: the texts.
        or_null: whether null leaves the hyperparameter to the library; for `like`, whether the library takes lists, or more than names.
        as_text: whether a number may be written as text.
        as_float: whether a whole number may be written as 2.0.
        any_case: whether a word may be written in capitals.
        beside: another hyperparameter and its value, without which any value is taken.
        also: a word that is taken besides.
    """

    kind: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    words: tuple[str, ...] = ()
    or_null: bool = False
    as_text: bool = False
    as_float: bool = False
    any_case: bool = False
    beside: tuple[str, str] | None = None
    also: str | None = None

    def take(self, value: Any) -> bool:
        """Return whether a value is one of them."""
        if value is None:
            # XGBoost and LightGBM leave null out; CatBoost has its own word for one that it does not.
            return self.or_null or self.kind == "one of"
        takes = {
            "one of": lambda: value in self.words,
            "like": lambda: self._may_be_name(value),
            "flag": lambda: isinstance(value, bool) or (self.as_text and str(value).lower() in _FLAG_TEXTS),
            "signs": lambda: all(_is_plain(sign) and sign in (-1, 0, 1) for sign in _each(value)),
            "weights": lambda: all(_is_plain(weight) and weight >= 0 for weight in _each(value)) and any(_each(value)),
            "wholes": lambda: isinstance(value, list | tuple) and all(map(self._is_number, value)),
        }
        return value == self.also or bool(takes.get(self.kind, lambda: self._is_number(value))())

    def hint(self, value: Any) -> str:
        """Return what is taken instead of a value, as a sentence."""
        near = [close for name in self._names(value) if not self._has(name) and (close := self._near(name))]
        also = f", or {self.also}" if self.also is not None else ""
        return f"Did you mean `{near[0]}`?" if near else f"It takes {self}{also}."

    def __str__(self) -> str:
        if self.kind in _PHRASES:
            return _PHRASES[self.kind]
        if self.words:
            return f"{'one of ' if self.kind == 'one of' else 'a name, such as '}{', '.join(self.words[:8])}"
        noun = {"number": "a number", "wholes": "a list of whole numbers, one per layer"}.get(self.kind, "a whole number")
        low, high = f"{self.low:g}", f"{self.high:.6g}"
        if self.kind == "wholes" or math.isinf(self.low):
            return noun
        if math.isinf(self.high):
            return f"{noun} above {low}" if self.open_low else f"{noun} from {low} on"
        below = "less than" if self.open_high else "at most" if self.open_low else ""
        return f"{noun} above {low} and {below} {high}" if self.open_low else f"{noun} from {low} to {below} {high}".replace("  ", " ")

    def _may_be_name(self, value: Any) -> bool:
        if not isinstance(value, str) and not self.or_null:
            return False
        # Anything but a name is left to a library that takes more than names.
        return all(self._has(name) or self._near(name) is None for name in self._names(value))

    def _has(self, name: str) -> bool:
        return name in self.words or (self.any_case and name.casefold() in {word.casefold() for word in self.words})

    def _near(self, name: str) -> str | None:
        """Return the word that a name is near to; of short words, one in which a single letter differs."""
        short = [word for word in self.words if len(word) == len(name) <= _SHORT and sum(map(str.__ne__, word, name)) == 1]
        folded = {word.casefold(): word for word in self.words}
        close = nearest(name.casefold(), folded)
        return folded[close] if close is not None else next(iter(short), None)

    @staticmethod
    def _names(value: Any) -> list[str]:
        """Return the names in a value: one, or those of a list, without what follows them."""
        texts = value.split(",") if isinstance(value, str) and "=" not in value else [value] if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            return []
        # CatBoost's `Quantile:alpha=0.3`, XGBoost's `cuda:0`, `error@0.7` and `ndcg-`.
        return [re.sub(r"(:.*=.*|:\d+|@.*|-)$", "", text.strip()) for text in texts if text.strip()]

    def _is_number(self, value: Any) -> bool:
        if isinstance(value, str) and self.as_text:
            try:
                value = int(value) if self.kind == "whole" and _WHOLE_TEXT.fullmatch(value) else float(value)
            except ValueError:
                return False
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.kind != "number" and isinstance(value, float) and not (self.as_float and value.is_integer()):
            return False
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)


@functools.cache
def values_of(library: str) -> Mapping[str, Values]:
    """Return the values that a library's common hyperparameters take, by name."""
    values: dict[str, Values] = {}
    for line in _TEXTS[library].replace("\\\n", "").strip().splitlines():
        parts = _LINE.fullmatch(re.sub(" +", " ", line.strip()))
        if parts is None:
            raise ValueError(f"{line!r} is not a line of the table of {library}")
        taken = dataclasses.replace(
            _values(
                parts["kind"], parts["marks"], parts["rest"] or "", as_float=library == "catboost" and parts["names"] != "metric_period"
            ),
            any_case=library in ("lightgbm", "keras"),
            beside=(parts["beside"], parts["word"]) if parts["beside"] else None,
            also=parts["also"],
        )
        values |= dict.fromkeys(parts["names"].split(), taken)
    return values


def wrong_values(library: str, hyperparameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each hyperparameter whose value the library does not take."""
    for name, value in hyperparameters.items():
        taken = values_of(library).get(name)
        held = taken is not None and (taken.beside is None or hyperparameters.get(taken.beside[0]) == taken.beside[1])
        if taken is not None and held and not taken.take(value):
            yield f"`hyperparameters.{name}` is {value!r}. {_OUTDATED.get((library, name, str(value))) or taken.hint(value)}"


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _each(value: Any) -> Iterable[Any]:
    """Return the values for each feature, or each class; none of a text, which is left to the library."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()


def _values(kind: str, marks: str, rest: str, *, as_float: bool) -> Values:
    or_null, as_text = "?" in marks, '"' in marks
    if kind in ("one of", "like"):
        return Values(kind, words=tuple(rest.split()), or_null=or_null)
    if kind in _PHRASES:
        return Values(kind, or_null=or_null, as_text=as_text)
    low, _, high = rest.strip("[](").rstrip(")").partition(",")
    return Values(
        kind,
        float(low or -math.inf),
        float(high or math.inf),
        open_low=rest.startswith("("),
        open_high=rest.endswith(")"),
        or_null=or_null,
        as_text=as_text,
        as_float=as_float,
    )
