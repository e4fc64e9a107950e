"""Random histories of machines and of everything that may die around them, checked from what really happened.

    python -m mmt_assets_tests.machine_histories --histories 200 --seed 1

Each history has a project of its own on the tests' Compute Engine, a Dagster instance of its own, and processes of its
own that are killed for good: a run (the real resource with Google's clients), a code server that starts it and sees
its death, a daemon that ticks the real sensors, and the machine's worker under the real startup script. What goes
wrong, and when, is drawn from the history's number (`plot.py`); `actors.py` are the processes, `stage.py` plays one
history, `verdict.py` judges it from the cloud's record, Dagster's event log and what the worker wrote.

The code server and the daemon are stand-ins of a few lines, because Dagster's own take many seconds to start; the
kills of real run processes are in `integration/test_analysis_server_run_process.py`. A second here stands for six:
boots, heartbeats and sensors are that much faster, calls and pauses inside the product are not, so that what is
measured is rather longer than the truth.
"""
