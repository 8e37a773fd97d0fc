"""Golden values for src/drift: writes the JSON files beside it, from reference implementations.

    python3 -m venv venv && venv/bin/pip install numpy scipy scikit-learn statsmodels \
        evidently==0.7.23 nannyml==0.13.1 river==0.23.0
    venv/bin/python tests/golden/drift/make.py

The versions used are written into every file (`versions`). Larger inputs are not stored but made on both sides by the
generator below (`Stream` in src/drift/golden.rs): state = state * 6364136223846793005 + 1442695040888963407 mod 2^64,
a value is the upper 53 bits over 2^53, and a "normal" is the sum of twelve values less 6. Both use only operations that
round the same everywhere.
"""

import importlib.metadata
import json
import os
import pathlib
import sys
import warnings

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

warnings.filterwarnings("ignore")
os.environ["NML_DISABLE_USAGE_LOGGING"] = os.environ["DO_NOT_TRACK"] = "1"
HERE = pathlib.Path(__file__).parent
PACKAGES = ["numpy", "scipy", "scikit-learn", "pandas", "evidently", "nannyml", "river"]


class Stream:
    """The generator that the Rust tests implement, too."""

    def __init__(self, seed):
        self.state = seed

    def unit(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 11) / 2**53

    def normal(self):
        total = 0.0
        for _ in range(12):
            total += self.unit()
        return total - 6.0

    def units(self, n):
        return np.array([self.unit() for _ in range(n)])

    def normals(self, n):
        return np.array([self.normal() for _ in range(n)])


def plain(value):
    """Numbers as JSON has them: no NaN, no numpy."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(one) for one in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else str(float(value))
    return value


def write(name, content):
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    text = json.dumps({"versions": versions, **plain(content)}, indent=1)
    (HERE / f"{name}.json").write_text(text + "\n")


def distances():
    pairs = [
        ([10, 20, 30, 40], [12, 18, 33, 37]),
        ([100, 0, 50, 3], [80, 5, 60, 0]),
        ([5, 5], [9, 1]),
        ([1000, 2000, 3000, 500, 0, 12], [11, 25, 26, 9, 0, 1]),
        ([1, 0], [0, 1]),
        ([7.5, 2.25, 0.25], [1.5, 8.0, 0.5]),
        ([333] * 60, list(range(300, 360))),
    ]
    histograms = []
    for baseline, current in pairs:
        b, c = np.array(baseline, float), np.array(current, float)
        p, q = b / b.sum(), c / c.sum()
        fp, fq = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
        table = np.array([b, c])
        table = table[:, table.sum(axis=0) > 0]
        chi = stats.chi2_contingency(table)
        histograms.append({
            "baseline": b, "current": c,
            "psi": np.sum((fq - fp) * np.log(fq / fp)),
            "js": jensenshannon(p, q, base=2),
            "linf": np.max(np.abs(p - q)),
            "hellinger": np.sqrt(max(0.0, 1 - np.sum(np.sqrt(p * q)))),
            "tvd": 0.5 * np.sum(np.abs(p - q)),
            "ks": np.max(np.abs(np.cumsum(p) - np.cumsum(q))),
            "chi2": chi.statistic, "dof": chi.dof, "p": chi.pvalue,
        })
    samples = []
    for seed, n, m, shift in [(1, 50, 40, 0.0), (2, 400, 300, 0.3), (3, 1000, 2000, 0.0), (4, 3000, 1234, 0.05)]:
        stream = Stream(seed)
        a, b = stream.normals(n), stream.normals(m) + shift
        weights = (stream.units(n), stream.units(m))
        # Rounded, so that there are ties.
        rounded = (np.floor(a * 8) / 8, np.floor(b * 8) / 8)
        samples.append({
            "seed": seed, "n": n, "m": m, "shift": shift,
            "d": stats.ks_2samp(a, b).statistic,
            "p_exact": stats.ks_2samp(a, b, method="exact").pvalue,
            "p_asymp": stats.ks_2samp(a, b, method="asymp").pvalue,
            "d_tied": stats.ks_2samp(*rounded).statistic,
            "w1": stats.wasserstein_distance(a, b),
            "w1_tied": stats.wasserstein_distance(*rounded),
            "w1_weighted": stats.wasserstein_distance(a, b, *weights),
            "mean_shift": abs(b.mean() - a.mean()) / a.std(),
        })
    kstwo = []
    for n in [1, 2, 7, 20, 100, 140, 141, 500, 1000, 1023, 1100, 1600, 3000, 5000, 20_000, 100_000, 100_001, 1_000_000]:
        for z in [0.1, 0.25, 0.3, 0.4, 0.5, 0.7, 0.86, 0.9, 1.2, 1.47, 1.5, 1.9, 2.05, 3.0, 5.0, 12.0, 19.0]:
            x = z / np.sqrt(n)
            if x < 1.0:
                kstwo.append([n, x, stats.kstwo.sf(x, n)])
        for x in [0.6 / n, 1.0 / n, 0.5, 0.55, 0.9, 1 - 0.5 / n]:
            kstwo.append([n, x, stats.kstwo.sf(x, n)])
    exact = []
    for n, m in [(3, 4), (5, 5), (10, 7), (100, 100), (120, 77), (1000, 900)]:
        g = np.gcd(n, m)
        lcm = n // g * m
        for share in [0.02, 0.05, 0.1, 0.3, 0.6, 1.0]:
            h = max(1, round(share * lcm))
            a, b, d = sample_with(n, m, h / lcm)
            exact.append([d, n, m, stats.ks_2samp(a, b, method="exact").pvalue])
    chi2 = [[x, k, stats.chi2.sf(x, k)] for k in [1, 2, 5, 9, 59, 999] for x in [1e-9, 0.1, 1, 5, 20, 80, 500, 1100]]
    quantiles = [[a, k, stats.chi2.isf(a, k)] for k in [1, 2, 9, 59, 999] for a in [0.9, 0.5, 0.05, 1e-4, 1e-9, 1e-14]]
    normal = [[a, stats.norm.isf(a)] for a in [0.9, 0.5, 0.1, 0.025, 1e-4, 1e-9, 1e-14]]
    from statsmodels.stats.proportion import proportion_confint
    z = stats.norm.isf(0.025)
    wilson = [[s, n, z, *proportion_confint(s, n, 0.05, "wilson")] for s, n in [(0, 10), (2, 10), (10, 10), (30, 1000)]]
    write("distances", {
        "histograms": histograms, "samples": samples, "kstwo": kstwo, "ks_exact": exact,
        "chi2": chi2, "chi2_quantiles": quantiles, "normal_quantiles": normal, "wilson": wilson,
    })


def sample_with(n, m, d):
    """Two samples without ties, of n and m values, whose distance is close to d; and that distance."""
    skip = min(int(round(d * n)), n)
    a = np.concatenate([np.arange(skip) - 1e6, np.linspace(0.1, 1, n - skip)])
    b = np.linspace(0.05, 1.05, m)
    return a, b, stats.ks_2samp(a, b).statistic


def detect():
    from river import drift

    streams = []
    for seed, pieces in [
        (11, [(6000, 0, 1)]),
        (12, [(3000, 0, 1), (3000, 0.5, 1)]),
        (13, [(500, 0, 1), (500, 3, 1), (500, -3, 1), (3000, 0, 1)]),
        (14, [(1000, 0, 1), (1000, 0.2, 1), (1000, 0.4, 1), (1000, 0.6, 1), (1000, 0.8, 1)]),
        (15, [(2000, 5, 0.1), (2000, 5.05, 0.1), (500, 4, 0.1)]),
        (16, [(1500, 0, 1), (1500, 0, 4), (1500, 0, 1)]),
        # Many small changes at several scales, so that every constant matters somewhere.
        *[(40 + s, [(150, 0.1 * (i * i % 7), 0.02 * (1 + s)) for i in range(30)]) for s in range(8)],
        *[(50 + s, [(400, 0.4 * (i * i % 5), 0.7 + 0.1 * s) for i in range(12)]) for s in range(4)],
    ]:
        stream = Stream(seed)
        values = [mean + deviation * stream.normal() for rows, mean, deviation in pieces for _ in range(rows)]
        alarms = {}
        for name, detector in [("page_hinkley", drift.PageHinkley()), ("adwin", drift.ADWIN())]:
            alarms[name] = []
            for index, value in enumerate(values):
                detector.update(value)
                if detector.drift_detected:
                    alarms[name].append(index)
        streams.append({"seed": seed, "pieces": pieces, "adwin_width": detector.width,
                        "adwin_mean": detector.estimation, **alarms})
    write("detect", {"streams": streams})


class Permutations:
    """The shuffle of src/drift/mmd.rs."""

    def __init__(self, seed):
        self.state = seed

    def shuffle(self, order):
        for last in range(len(order) - 1, 0, -1):
            self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
            other = (self.state * (last + 1)) >> 64
            order[last], order[other] = order[other], order[last]


def mmd():
    cases = []
    for seed, n, m, width, shift in [(21, 20, 30, 2, 0.0), (22, 40, 25, 3, 0.8), (23, 50, 50, 16, 0.15)]:
        stream = Stream(seed)
        x, y = stream.normals(n * width).reshape(n, width), stream.normals(m * width).reshape(m, width) + shift
        points = np.concatenate([x, y])
        squares = ((points[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)
        pairs = np.sort(squares[np.triu_indices(n + m, 1)])
        sigma = np.sqrt(pairs[(len(pairs) - 1) // 2] / 2)
        kernel = np.exp(-squares / (2 * sigma**2))
        np.fill_diagonal(kernel, 0)

        def squared(order):
            a, b = order[:n], order[n:]
            return (kernel[np.ix_(a, a)].sum() / (n * (n - 1)) + kernel[np.ix_(b, b)].sum() / (m * (m - 1))
                    - 2 * kernel[np.ix_(a, b)].mean())

        order = list(range(n + m))
        observed, permutations, as_large = squared(order), Permutations(42), 0
        for _ in range(100):
            permutations.shuffle(order)
            as_large += squared(order) >= observed
        cases.append({"seed": seed, "n": n, "m": m, "width": width, "shift": shift, "squared": observed,
                      "sigma": sigma, "p": (1 + as_large) / 101})
    write("mmd", {"cases": cases})


def scored(seed, n, slope):
    """Scores, truths and weights; truths follow the scores, but not with the probability that they say."""
    stream = Stream(seed)
    scores, chances, weights = stream.units(n), stream.units(n), stream.units(n) + 0.5
    return scores, (chances < scores**2 * slope + 0.1).astype(int), weights


def performance():
    import pandas as pd
    from sklearn import metrics
    from sklearn.isotonic import IsotonicRegression
    import nannyml
    from nannyml.performance_estimation.confidence_based import metrics as estimates

    classification = []
    for seed, n, slope, is_tied in [(31, 200, 0.8, False), (32, 500, 0.5, True)]:
        scores, truths, weights = scored(seed, n, slope)
        if is_tied:
            scores = np.floor(scores * 10) / 10
        predicted = (scores >= 0.5).astype(int)
        tn, fp, fn, tp = metrics.confusion_matrix(truths, predicted, sample_weight=weights).ravel()
        bins = np.minimum((scores * 10).astype(int), 9)
        ece = sum(abs(np.sum(weights[bins == b] * (scores - truths)[bins == b])) for b in range(10)) / weights.sum()
        classification.append({
            "seed": seed, "n": n, "slope": slope, "is_tied": is_tied,
            "tp": tp, "fp": fp, "tn": tn, "fn": fn,
            "accuracy": metrics.accuracy_score(truths, predicted, sample_weight=weights),
            "precision": metrics.precision_score(truths, predicted, sample_weight=weights),
            "recall": metrics.recall_score(truths, predicted, sample_weight=weights),
            "f1": metrics.f1_score(truths, predicted, sample_weight=weights),
            "auc": metrics.roc_auc_score(truths, scores, sample_weight=weights),
            "log_loss": metrics.log_loss(truths, scores, sample_weight=weights),
            "brier": metrics.brier_score_loss(truths, scores, sample_weight=weights),
            "ece": ece,
        })
    stream = Stream(33)
    predicted, truths, weights = stream.normals(300), stream.normals(300), stream.units(300)
    regression = {
        "seed": 33, "n": 300,
        "mae": metrics.mean_absolute_error(truths, predicted, sample_weight=weights),
        "rmse": metrics.root_mean_squared_error(truths, predicted, sample_weight=weights),
    }
    scores, truths, weights = scored(34, 400, 0.8)
    scores = np.floor(scores * 50) / 50
    grid = np.linspace(-0.1, 1.1, 61)
    isotonic = {"seed": 34, "n": 400, "slope": 0.8, "grid": grid,
                "plain": IsotonicRegression(out_of_bounds="clip").fit(scores, truths).predict(grid),
                "weighted": IsotonicRegression(out_of_bounds="clip").fit(scores, truths, weights).predict(grid)}
    # NannyML whole: reference of 2,000 rows, two chunks of 1,000 analysed.
    scores, truths, _ = scored(35, 2000, 0.8)
    reference = pd.DataFrame({"score": scores, "predicted": (scores >= 0.5).astype(int), "truth": truths})
    scores, _, _ = scored(36, 2000, 0.8)
    analysed = pd.DataFrame({"score": np.sqrt(scores), "predicted": (np.sqrt(scores) >= 0.5).astype(int)})
    names = ["accuracy", "f1", "precision", "recall", "roc_auc", "confusion_matrix"]
    cbpe = nannyml.CBPE(y_pred_proba="score", y_pred="predicted", y_true="truth", problem_type="classification_binary",
                        metrics=names, chunk_size=1000)
    cbpe.fit(reference)
    assert cbpe.needs_calibration
    table = cbpe.estimate(analysed).filter(period="analysis").to_df()
    columns = ["accuracy", "f1", "precision", "recall", "roc_auc", "true_positive", "false_positive", "true_negative",
               "false_negative"]
    chunks = [{name: table[(name, "value")].iloc[row] for name in columns} for row in range(2)]
    write("performance", {
        "classification": classification, "regression": regression, "isotonic": isotonic,
        "cbpe": {"reference_seed": 35, "analysed_seed": 36, "n": 2000, "slope": 0.8, "chunks": chunks},
    })


def numeric_column(seed, rows, shift, kind):
    values = Stream(seed).normals(rows) + shift
    if kind == "skewed":
        values = values**2
    if kind == "rounded":
        values = np.floor(values)
    if kind == "binary":
        values = (values > 0).astype(float)
    if kind == "outlier" and shift != 0:
        values[0] = 1000.0
    return values


def categorical_column(seed, rows, power, names):
    units = Stream(seed).units(rows)
    # Multiplied out, because a power may round otherwise.
    powers = units if power == 1 else units * units
    return np.array([names[int(value * len(names))] for value in powers])


def number(name, value, threshold, is_drift, is_default=None):
    return {"name": name, "value": value, "threshold": threshold, "is_drift": is_drift, "is_default": is_default}


def by_evidently(a, b, is_numeric):
    import pandas as pd
    from evidently.legacy.calculations import stattests
    from evidently.legacy.calculations.stattests.registry import _get_default_stattest
    from evidently.legacy.core import ColumnType

    kind = ColumnType.Numerical if is_numeric else ColumnType.Categorical
    a, b = pd.Series(a), pd.Series(b)
    values = pd.concat([a, b]).nunique()
    tests = [stattests.psi_stat_test, stattests.jensenshannon_stat_test, stattests.hellinger_stat_test]
    tests += [stattests.wasserstein_stat_test, stattests.ks_stat_test] if is_numeric else []
    tests += [stattests.chi_stat_test] if not is_numeric or values <= 5 else []
    tests += [stattests.z_stat_test] if values <= 2 else []
    default = _get_default_stattest(a, b, kind).name
    results = [(test.name, test(a.copy(), b.copy(), kind, None)) for test in tests]
    return [number(name, result.drift_score, result.actual_threshold, bool(result.drifted), name == default)
            for name, result in results]


def by_nannyml(a, b, is_numeric):
    import pandas as pd
    from nannyml.chunk import CountBasedChunker
    from nannyml.drift.univariate.methods import FeatureType, MethodFactory
    from nannyml.thresholds import StandardDeviationThreshold

    kind = FeatureType.CONTINUOUS if is_numeric else FeatureType.CATEGORICAL
    keys = ["jensen_shannon", "hellinger"]
    keys += ["kolmogorov_smirnov", "wasserstein"] if is_numeric else ["l_infinity", "chi2"]
    measures = []
    for key in keys:
        method = MethodFactory.create(key, kind, chunker=CountBasedChunker(10),
                                      threshold=StandardDeviationThreshold(std_lower_multiplier=None))
        method.fit(pd.Series(a, name="x"))
        value = method.calculate(pd.Series(b, name="x"))
        measures.append(number(key, value, method.upper_threshold_value, bool(method.alert(value))))
        if key == "chi2":
            measures.append(number("chi2_p", method._p_value, 0.05, bool(method.alert(value))))
    return measures


def by_azureml(a, b, is_numeric):
    """The formulas of Azure/azureml-assets on numpy, because the original needs Spark."""
    n, m = len(a), len(b)
    if is_numeric:
        bins = int(np.ceil(np.log2(min(n, m)) + 1))
        low, high = min(a.min(), b.min()), max(a.max(), b.max())
        edges = np.array([low + i * ((high - low) / bins) for i in range(bins + 1)])
        p, q = np.histogram(a, edges)[0], np.histogram(b, edges)[0]
        ps, qs = (p + 1) / (n + bins), (q + 1) / (m + bins)
        w1 = stats.wasserstein_distance(a, b) / max(a.std(ddof=1), 0.001)
        ks = stats.ks_2samp(a, b).pvalue if max(n, m) < 10_000 else np.nan
        own = [number("NormalizedWassersteinDistance", w1, 0.1, w1 > 0.1, True),
               number("TwoSampleKolmogorovSmirnovTest", ks, None, False, False)]
    else:
        names = sorted(set(a) | set(b))
        p, q = (np.array([np.sum(side == name) for name in names]) for side in (a, b))
        ps, qs = (p + 1) / n, (q + 1) / m
        own = [number("PearsonsChiSquaredTest", stats.chisquare(q, p * (m / n)).pvalue, None, False, False)]
    js = jensenshannon(p / n, q / m, base=2)
    threshold = None if is_numeric else 0.1
    return [number("PopulationStabilityIndex", np.sum((qs - ps) * np.log(qs / ps)), None, False, False),
            number("JensenShannonDistance", js, threshold, not is_numeric and js > 0.1, not is_numeric)] + own


def by_deequ(a, b, is_numeric):
    n, m = len(a), len(b)
    names = sorted(set(a) | set(b))
    simple = stats.ks_2samp(a, b).statistic if is_numeric else max(abs(np.mean(a == x) - np.mean(b == x)) for x in names)
    robust = max(0.0, simple - 1.8 * np.sqrt((n + m) / (n * m)))
    return [number("linf_simple", simple, 0.1, simple > 0.1, False),
            number("linf_robust", robust, 0.1, robust > 0.1, True)]


def presets():
    tools = {"evidently": by_evidently, "nannyml": by_nannyml, "azureml": by_azureml, "deequ": by_deequ}
    cases = []
    for seed, n, m, shift, kind in [
        (101, 800, 500, 0.0, "normal"), (103, 2005, 1024, 0.2, "normal"), (105, 2000, 700, 0.5, "skewed"),
        (107, 1500, 900, 0.3, "rounded"), (109, 600, 300, 0.3, "binary"), (111, 3000, 1500, 0.1, "outlier"),
        (113, 12_000, 3000, 0.05, "normal"), (115, 900, 900, 0.4, "rounded"), (117, 1200, 400, 0.1, "binary"),
        (119, 11_000, 2000, 1.0, "skewed"),
    ]:
        a, b = numeric_column(seed, n, 0.0, kind), numeric_column(seed + 1, m, shift, kind)
        for tool, measures in tools.items():
            cases.append({"tool": tool, "seed": seed, "n": n, "m": m, "shift": shift, "kind": kind,
                          "measures": measures(a, b, True)})
    for seed, n, m, powers, names in [
        (201, 900, 500, (1, 1), ("abcde", "abcde")), (203, 2003, 800, (1, 2), ("abcde", "abcdef")),
        (205, 500, 400, (1, 2), ("ab", "ab")), (207, 700, 300, (1, 1), ("abcd", "abc")),
    ]:
        a, b = (categorical_column(seed + i, rows, powers[i], names[i]) for i, rows in enumerate((n, m)))
        for tool, measures in tools.items():
            cases.append({"tool": tool, "seed": seed, "n": n, "m": m, "kind": "categories", "powers": powers,
                          "names": names, "measures": measures(a, b, False)})
    write("presets", {"cases": cases})


if __name__ == "__main__":
    # Evidently sums over sets: with another seed of the hashes the last digits would change from run to run.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    distances()
    detect()
    mmd()
    performance()
    presets()
