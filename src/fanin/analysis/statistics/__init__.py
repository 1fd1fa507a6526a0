"""Statistics of replicates: pure functions on arrays.

Replicates are the unit: intervals are Student's t over replicates, and comparisons are paired by
replicate. No function invents a value for a diverged run. Diverged runs are counted, and they are
the worst values in medians and ranks.
"""

from fanin.errors import MissingExtra

try:
    import scipy as _scipy  # noqa: F401
except ModuleNotFoundError:
    raise MissingExtra("scipy", "study", "Statistics") from None

from fanin.analysis.statistics.aggregates import Aggregate as Aggregate
from fanin.analysis.statistics.aggregates import (
    compute_interquartile_mean as compute_interquartile_mean,
)
from fanin.analysis.statistics.aggregates import estimate_aggregate as estimate_aggregate
from fanin.analysis.statistics.aggregates import estimate_improvement as estimate_improvement
from fanin.analysis.statistics.censored_times import SurvivalCurve as SurvivalCurve
from fanin.analysis.statistics.censored_times import TimeComparison as TimeComparison
from fanin.analysis.statistics.censored_times import compare_times as compare_times
from fanin.analysis.statistics.censored_times import estimate_survival as estimate_survival
from fanin.analysis.statistics.censored_times import find_time as find_time
from fanin.analysis.statistics.intervals import Estimate as Estimate
from fanin.analysis.statistics.intervals import MedianEstimate as MedianEstimate
from fanin.analysis.statistics.intervals import SpreadEstimate as SpreadEstimate
from fanin.analysis.statistics.intervals import compute_median as compute_median
from fanin.analysis.statistics.intervals import estimate as estimate
from fanin.analysis.statistics.intervals import estimate_median as estimate_median
from fanin.analysis.statistics.intervals import estimate_spread as estimate_spread
from fanin.analysis.statistics.intervals import pool_deviations as pool_deviations
from fanin.analysis.statistics.jackknife import Statistic as Statistic
from fanin.analysis.statistics.jackknife import jackknife as jackknife
from fanin.analysis.statistics.multiplicity import correct_holm as correct_holm
from fanin.analysis.statistics.paired_differences import EquivalenceTest as EquivalenceTest
from fanin.analysis.statistics.paired_differences import PairedDifference as PairedDifference
from fanin.analysis.statistics.paired_differences import compare_pairs as compare_pairs
from fanin.analysis.statistics.paired_differences import judge_equivalence as judge_equivalence
from fanin.analysis.statistics.performance_profiles import PerformanceProfile as PerformanceProfile
from fanin.analysis.statistics.performance_profiles import profile_ratios as profile_ratios
from fanin.analysis.statistics.performance_profiles import profile_scores as profile_scores
from fanin.analysis.statistics.power import compute_power as compute_power
from fanin.analysis.statistics.power import count_needed_replicates as count_needed_replicates
from fanin.analysis.statistics.power import count_needed_wins as count_needed_wins
from fanin.analysis.statistics.power import find_detectable_difference as find_detectable_difference
from fanin.analysis.statistics.power import find_detectable_share as find_detectable_share
from fanin.analysis.statistics.proportions import Proportion as Proportion
from fanin.analysis.statistics.proportions import WinCount as WinCount
from fanin.analysis.statistics.proportions import bound_proportion as bound_proportion
from fanin.analysis.statistics.proportions import compute_divergence_rate as compute_divergence_rate
from fanin.analysis.statistics.proportions import count_wins as count_wins
from fanin.analysis.statistics.proportions import estimate_proportion as estimate_proportion
from fanin.analysis.statistics.ranks import RankComparison as RankComparison
from fanin.analysis.statistics.ranks import compare_ranks as compare_ranks
from fanin.analysis.statistics.ranks import rank as rank
from fanin.analysis.statistics.ranks import rank_rows as rank_rows
from fanin.analysis.statistics.rate_sensitivity import RateSensitivity as RateSensitivity
from fanin.analysis.statistics.rate_sensitivity import describe_sensitivity as describe_sensitivity
from fanin.analysis.statistics.sign_flips import adjust_jointly as adjust_jointly
from fanin.analysis.statistics.sign_flips import compute_flip_p_value as compute_flip_p_value
from fanin.analysis.statistics.unpaired_differences import UnpairedDifference as UnpairedDifference
from fanin.analysis.statistics.unpaired_differences import compare_groups as compare_groups
from fanin.analysis.statistics.variance_components import VarianceComponent as VarianceComponent
from fanin.analysis.statistics.variance_components import VarianceComponents as VarianceComponents
from fanin.analysis.statistics.variance_components import estimate_components as estimate_components
from fanin.analysis.statistics.vectors import LEVEL as LEVEL
from fanin.analysis.statistics.vectors import MIN_FOR_INTERVAL as MIN_FOR_INTERVAL
from fanin.analysis.statistics.vectors import MIN_FOR_TEST as MIN_FOR_TEST
