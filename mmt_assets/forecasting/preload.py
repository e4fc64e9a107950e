"""What forecasts load when they first need it, loaded ahead."""


def preload() -> None:
    """Import the libraries of the models and load the compiled solver: over a second that a forecast then saves."""
    import xgboost  # noqa: F401, PLC0415 -- this function is there so that nothing is loaded by an import alone

    from mmt_assets.forecasting.prophet_map import compile_kernels  # noqa: PLC0415

    compile_kernels()
