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
import pathlib
import warnings

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

warnings.filterwarnings("ignore")
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
    for n in [1, 2, 7, 20, 100, 140, 141, 500, 1000, 5000, 20_000, 100_000, 100_001, 1_000_000]:
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


if __name__ == "__main__":
    distances()
