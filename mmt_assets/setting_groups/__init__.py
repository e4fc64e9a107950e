"""Groups of settings, by what they are for; `mmt_assets.settings.Settings` is all of them and reads them."""
