"""E-mail for Flask that returns at once and is never lost."""

from ._alembic import include_name
from ._extension import Mail
from ._flask_mail import Connection, install_as_flask_mail
from ._message import Message
from ._sanitize import sanitize_address, sanitize_addresses
from .engines.base import Batch, Receipt
from .errors import (
    AddressError,
    BacklogFullError,
    BadHeaderError,
    BrokerError,
    ConfigurationError,
    DeliveryError,
    MailError,
    MessageError,
    MessageTooLargeError,
    NoRecipientsError,
    NoSenderError,
    OutboxError,
    OutboxFileError,
    SchemaError,
    UnsupportedFeature,
)
from .mail.message import Attachment
from .signals import (
    email_dispatched,
    message_dead,
    message_deferred,
    message_queued,
    message_rolled_back,
    message_sent,
    transport_paused,
)

__all__ = [
    "AddressError",
    "Attachment",
    "BacklogFullError",
    "BadHeaderError",
    "Batch",
    "BrokerError",
    "ConfigurationError",
    "Connection",
    "DeliveryError",
    "Mail",
    "MailError",
    "Message",
    "MessageError",
    "MessageTooLargeError",
    "NoRecipientsError",
    "NoSenderError",
    "OutboxError",
    "OutboxFileError",
    "Receipt",
    "SchemaError",
    "UnsupportedFeature",
    "email_dispatched",
    "include_name",
    "install_as_flask_mail",
    "message_dead",
    "message_deferred",
    "message_queued",
    "message_rolled_back",
    "message_sent",
    "sanitize_address",
    "sanitize_addresses",
    "transport_paused",
]
