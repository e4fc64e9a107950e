"""Fast maximum a posteriori fits of Prophet's model for many daily series at once.

    spec = ProphetSpec("linear", (Seasonality("weekly", 7, 3),))
    fitted = fit(spec, SeriesBatch(offsets, days, values))
    forecast = predict(fitted, SeriesBatch(future_offsets, future_days), (0.1, 0.5, 0.9))

`prophet_map.stock` fits the same specification with stock Prophet and turns estimates into real `Prophet`
objects; it is not imported here because importing Prophet takes seconds.
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
