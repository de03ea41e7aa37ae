"""The replies that the server engine gives by itself. RFC 5321 4.2.2-4.2.3, 3463, 5248."""

from relay.mail.reply import reply
from relay.smtp.content import BARE_CR, BARE_LF, NUL

OK = reply(250, "2.0.0", "Ok")
HELP = reply(214, "2.0.0", "See RFC 5321; the postmaster of this host helps with the rest")
CANNOT_VERIFY = reply(252, "2.5.0", "Cannot verify, but will take mail for those it may relay to")
NOT_OFFERED = reply(502, "5.5.1", "Not offered here")

UNKNOWN = reply(500, "5.5.1", "Command not recognised")
UNREADABLE = reply(500, "5.5.2", "Command holds octets that are not allowed")
BARE_LINE = reply(500, "5.5.2", "Command lines end in CR LF")
LINE_TOO_LONG = reply(500, "5.5.6", "Command line too long")
NOT_SMTP = reply(521, "5.5.1", "This is an SMTP server")
TOO_MANY_ERRORS = reply(421, "4.7.0", "Too many errors, closing")
TOO_MANY_COMMANDS = reply(421, "4.7.0", "Too many commands without a message, closing")
NO_ARGUMENT = reply(501, "5.5.4", "This command takes no argument")
NEEDS_ARGUMENT = reply(501, "5.5.4", "This command needs an argument")

HELLO_FIRST = reply(503, "5.5.1", "Send EHLO or HELO first")
MAIL_FIRST = reply(503, "5.5.1", "Send MAIL first")
NESTED_MAIL = reply(503, "5.5.1", "A mail transaction is under way")
BDAT_UNDER_WAY = reply(503, "5.5.1", "Content is being sent by BDAT")
NO_RECIPIENTS = reply(554, "5.5.1", "No valid recipients")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "Too many recipients, send the rest separately")

TLS_FIRST = reply(530, "5.7.0", "Must issue a STARTTLS command first")
TLS_ALREADY = reply(503, "5.5.1", "TLS is active already")
TLS_PIPELINED = reply(554, "5.5.1", "Nothing may follow STARTTLS before its reply, closing")

TOO_BIG = reply(552, "5.3.4", "Message exceeds the size limit")

BAD_CONTENT = {
    BARE_CR: reply(550, "5.6.11", "Content holds a bare CR"),
    BARE_LF: reply(550, "5.6.11", "Content holds a bare LF; lines end in CR LF"),
    NUL: reply(550, "5.6.11", "Content holds a NUL octet"),
}

FIXED = {"NOOP": OK, "HELP": HELP}
VERBS_NOT_OFFERED = ("EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML")
HTTP_VERBS = frozenset({"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "DELETE", "PRI"})
