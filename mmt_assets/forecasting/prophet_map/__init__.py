"""Fast maximum a posteriori fits of Prophet's model for many daily series at once.

    spec = ProphetSpec("linear", (Seasonality("weekly", 7, 3),))
    fitted = fit(spec, SeriesBatch(offsets, days, values))
    forecast = predict(fitted, SeriesBatch(future_offsets, future_days), (0.1, 0.5, 0.9))

`prophet_map.stock` fits the same specification with stock Prophet and turns estimates into real `Prophet`
objects; it is not imported here because importing Prophet takes seconds.

The model is prophet.stan of Prophet 1.5, term by term. In scaled units (y / max|y| per series, t from 0 on the
first day to 1 on the last) with Fourier columns and regressors X, split by mode into X_a and X_m:

    y ~ normal(trend * (1 + X_m beta) + X_a beta, sigma_obs)
    z(t) = k t + m + sum_j delta_j (t - s_j)+            linear: trend = z
    z(t) = k (t - m) + sum_j delta_j (t - s_j)+          logistic: trend = cap * sigmoid(z)
    trend = m                                            flat
    k, m ~ normal(0, 5)   delta ~ Laplace(0, tau)   sigma_obs ~ normal(0, 0.5)   beta ~ normal(0, prior scales)

prophet.stan writes the logistic trend as sigmoid((k + A delta)(t - m - A gamma)) with a recursion for gamma that
makes it continuous at each changepoint; a continuous function with those slopes is the z above, which has no
recursion and no division by a slope. Flat growth leaves k and delta at their prior mode, zero.

Solution. For a given sigma_obs the rest is least squares with normal priors and an L1 penalty on delta: the smooth
parameters are eliminated by Cholesky, delta is solved exactly by an active set on the Schur complement (feature-sign
search, Lee et al. 2006). For given residuals sigma_obs has a closed form. Where the mean is linear in the parameters
(linear or flat, all components additive) one Gram matrix serves all steps, and a safeguarded secant finds the fixed
point of sigma_obs, from Stan's starting value 1 downwards. Otherwise Levenberg-Marquardt steps use the same solver,
from Prophet's own starting values. With few rows the parameters can pass through every row and the density grows
without bound as sigma_obs goes to 0: there is no maximum then, and the widest local one is returned if there is one.

Forecast intervals. At a MAP estimate Prophet samples noise plus slope changes after the last day: on each day with
probability S / t_scale, Laplace(0, mean|delta|). Their sum is a sum of independent terms, so variance and fourth
cumulant of z are polynomials in the horizon, and quantiles follow by Cornish-Fisher; through the sigmoid they are
mapped quantile by quantile. The horizon counts days, so an interval does not depend on which other days are asked
for (stock Prophet counts rows). Terms are traced to functions of forecaster.py in `kernels`.

Without changepoints stock Prophet fits a dummy at time 0 and folds it into k; here there is none, the same optimum
unless |k| exceeds 25 / tau. Holidays, a logistic floor and sub-daily rows are not covered.
"""

from mmt_assets.forecasting.prophet_map.batch import (
    FitStatus,
    FittedBatch,
    Prediction,
    compile_kernels,
    fit,
    log_posterior,
    predict,
)
from mmt_assets.forecasting.prophet_map.specification import (
    ProphetSpec,
    Regressor,
    Seasonality,
    SeriesBatch,
    value_scales,
)

__all__ = [
    "FitStatus",
    "FittedBatch",
    "Prediction",
    "ProphetSpec",
    "Regressor",
    "Seasonality",
    "SeriesBatch",
    "compile_kernels",
    "fit",
    "log_posterior",
    "predict",
    "value_scales",
]
