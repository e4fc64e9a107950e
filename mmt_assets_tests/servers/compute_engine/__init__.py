"""Compute Engine for tests: its REST API over HTTP, with machines that really run their startup script.

    python -m mmt_assets_tests.servers.compute_engine --port 9201

`instance.py` is a machine and its life, `guest.py` what runs inside it, `metadata_server.py` what it sees of the cloud;
`cloud.py` holds projects, templates and operations, `routes.py` the API's paths, `faults.py` what can be made to go
wrong, `control.py` the tests' own paths, `fixture.py` the fixtures. Projects are made by their first use and know
nothing of each other, so that many tests can share one process.
"""
