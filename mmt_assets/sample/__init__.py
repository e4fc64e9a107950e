"""A simulated concert platform, written out as a source directory for demos and tests.

Every artist, fan, concert and order in here is invented: nothing was measured, no real person or
company is described, and accuracy on this data says nothing about accuracy on real sales.

Fans "make" (request) an artist in their city, concerts are announced where demand is high, tickets
sell, some are refunded. The world has no end and no memory of who asks: any day from the epoch on
always holds the same rows, whatever window is written around it.

- `world`: artists, cities, currencies, seeds and the calendar
- `concerts`: the programme, one concert about every four and a half days
- `demand`: makes per day
- `sales`: orders and refunds per concert, sales outages
- `dirty`: the broken rows that every real source has
- `writer`: Parquet files by month, written only when they change
"""

from mmt_assets.sample.writer import SampleWindow, write_source

__all__ = ["SampleWindow", "write_source"]
