"""Everything Flask-Outbox raises.

::

    MailError
    ├── ConfigurationError (ValueError)       a MAIL_* key is wrong; names the key and the cure
    ├── MessageError (ValueError)             the caller's message is wrong; `field` says where
    │   ├── BadHeaderError                    CR, LF or NUL where a header, address or name belongs
    │   ├── AddressError                      not an address that can be mailed
    │   ├── NoSenderError (AssertionError)    no sender and no MAIL_DEFAULT_SENDER
    │   ├── NoRecipientsError (AssertionError)
    │   └── MessageTooLargeError              larger than MAIL_MAX_SIZE
    ├── UnsupportedFeature                    the chosen road cannot do what the message asks
    ├── OutboxError                           the outbox cannot store or read
    │   ├── SchemaError                       tables missing or of another version
    │   └── OutboxFileError (OSError)         the SQLite file or its folder
    ├── BacklogFullError                      the background engine has no room for another message
    ├── BrokerError                           a task queue's broker did not take a message that is stored nowhere
    └── DeliveryError                         the immediate engine could not deliver; holds the report

The world's failures (a refused recipient, a timeout) are values, see :mod:`flask_outbox.rules.outcomes`;
only the immediate engine turns them into an exception, because its caller is waiting. What it raises is also the
class of :mod:`smtplib`, or the :exc:`OSError`, that Flask-Mail would have raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engines.base import Batch
    from .rules.outcomes import Outcome, Report


class MailError(Exception):
    """The root of the tree. The attributes say what a server or the network had to do with it.

    :ivar scope: whose fault it is: ``"recipient"``, ``"message"``, ``"account"`` or ``"transport"``.
    :ivar phase: ``"before"`` or ``"after"`` the content was sent.
    :ivar code: of the server's reply; 0 where there was none.
    :ivar enhanced: its RFC 3463 status, ``"5.1.1"``.
    :ivar reply: its text, or what the network did.
    :ivar transport: the transport that tried.
    :ivar batch: of ``mail.send_many``: what had been taken before; None otherwise.
    """

    scope: str = ""
    phase: str = ""
    code: int = 0
    enhanced: str = ""
    reply: str = ""
    transport: str = ""
    batch: Batch | None = None


class ConfigurationError(MailError, ValueError):
    """A setting is missing, malformed or contradicts another; the text names the key and the cure."""


class MessageError(MailError, ValueError):
    """The message cannot be sealed.

    :param field: the message's field at fault, as the caller wrote it (``"subject"``, ``"cc"``).
    :param index: of the message among those given to ``mail.send_many``, counted from 0.
    """

    scope: str = "message"

    def __init__(self, text: str, *, field: str = "", index: int | None = None) -> None:
        super().__init__(text)
        self.field = field
        self.index = index


class BadHeaderError(MessageError):
    """CR, LF or NUL in a header, an address, a file name or an SMTP parameter."""


class AddressError(MessageError):
    """Not an address that can be mailed."""


class NoSenderError(MessageError, AssertionError):
    """Neither the message nor ``MAIL_DEFAULT_SENDER`` names a sender."""


class NoRecipientsError(MessageError, AssertionError):
    """The message has no recipient at all."""


class MessageTooLargeError(MessageError):
    """The message is larger than ``MAIL_MAX_SIZE``."""


class UnsupportedFeature(MailError):
    """The chosen transport cannot do what the message asks for."""


class OutboxError(MailError):
    """The outbox cannot store or read."""


class SchemaError(OutboxError):
    """The outbox's tables are missing or of another version."""


class OutboxFileError(OutboxError, OSError):
    """The outbox's SQLite file or its folder cannot be used."""


class BacklogFullError(MailError):
    """The background engine has no room for another message, which is not accepted."""


class BrokerError(MailError):
    """The broker of a task queue did not take a message, which is stored nowhere else."""


class DeliveryError(MailError):
    """The immediate engine could not deliver to every recipient; the attributes are those of the first that failed.

    :param report: one outcome per recipient.
    """

    def __init__(self, text: str, report: Report) -> None:
        # Not the next class's: in what the immediate engine raises that is one of smtplib's, or OSError.
        Exception.__init__(self, text)
        self.report = report
        first = next(iter(self.recipients.values()), None)
        if first is not None:
            self.scope: str = first.scope
            self.phase: str = first.phase
            self.code: int = first.code
            self.enhanced: str = first.enhanced
            self.reply: str = first.text
        self.transport: str = report.transport

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[type[DeliveryError], tuple[str, Report]]:
        # The class of what the immediate engine raises is made as it is raised; no other process has it.
        return DeliveryError, (str(self), self.report)

    @property
    def recipients(self) -> dict[str, Outcome]:
        """The recipients that did not get the mail, each with what happened."""
        return {to: outcome for to, outcome in self.report if not outcome.accepted}
