"""SMTP, IMAP, MIME and the round-trip proof."""
