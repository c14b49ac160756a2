"""How much may have left that is not written down yet."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

from flask_outbox.delivery.loop import ThreadQueue
from flask_outbox.delivery.recorder import UNRECORDED, Recorder
from flask_outbox.ledger.store import Store


def test_a_content_that_leaves_again_on_another_road_waits_for_no_others(store: Store) -> None:
    """All that count could be on their way to another road: they would wait for one another."""

    async def main() -> None:
        sql = ThreadQueue("sql")
        recorder = Recorder(store, sql, (), nullcontext)
        try:
            for delivery_id in range(UNRECORDED + 1):
                await recorder.expose(delivery_id, connections=1)
            async with asyncio.timeout(20):
                await recorder.expose(0, connections=1)
            another = asyncio.create_task(recorder.expose(UNRECORDED + 1, connections=1))
            await asyncio.sleep(0)
            assert not another.done()
            another.cancel()
        finally:
            recorder.close()
            sql.stop()

    asyncio.run(main())
