"""The outlook board: one page, complete in itself, that anybody can open. Frames in, HTML out; no Dagster.

- `read`: the frames, from the warehouse
- `concerts`, `attention`, `changes`: one row per concert, in the order in which it deserves attention
- `summary`: the board as a whole
- `charts`: cumulative sales by days to the show
- `demand`, `scoreboard`: fans by city, accuracy by days before the show
- `page`: the page; templates, style and scripts beside it in `templates/`
- `place`: where it is kept, replaced as a whole
"""

from mmt_assets.board.attention import FLAG_MEANINGS, reason
from mmt_assets.board.concerts import BoardConcert
from mmt_assets.board.page import About, render_board
from mmt_assets.board.place import board_address, save_board
from mmt_assets.board.read import BoardFrames, NoOutlookError, read_board
from mmt_assets.board.summary import Board, build_board

__all__ = [
    "FLAG_MEANINGS",
    "About",
    "Board",
    "BoardConcert",
    "BoardFrames",
    "NoOutlookError",
    "board_address",
    "build_board",
    "read_board",
    "reason",
    "render_board",
    "save_board",
]
