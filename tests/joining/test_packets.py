"""A message that is too large for the server, in a transaction of the application's."""

from __future__ import annotations

import pytest

from flask_outbox.errors import OutboxError
from joining.shop import Person, message
from joining.test_rule import OpenShop
from ledger.test_packets import MB, taking
from servers.mariadb import MariaDB


@pytest.mark.only("mysql+pymysql")
def test_the_transaction_outlives_a_message_that_is_too_large(
    mariadb: MariaDB, open_shop: OpenShop
) -> None:
    """The server would have cut the session's own connection."""
    large = message("Large")
    large.attach("a.bin", "application/octet-stream", b"x" * MB)
    with taking(mariadb, MB):
        shop = open_shop()
        with shop.app.app_context():
            shop.session.add(Person(name="Ann"))
            with pytest.raises(OutboxError, match="max_allowed_packet"):
                shop.mail.send(large)
            shop.send("Small")
            shop.session.commit()
            assert [person.name for person in shop.session.query(Person)] == ["Ann"]
            assert shop.stored() == ["Small"]
