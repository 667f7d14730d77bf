#!/bin/sh
# smtplib (Python 3.11.7, 3.12.1, 3.13.0): rcpt() reads the address as a header
# field would, so that what stands in brackets counts as a comment.
# Seen: rcpt("ops(on-call)@example.com") puts "rcpt TO:<ops@example.com>" on the
# wire, and rcpt("(cc)b@example.com") "rcpt TO:<b@example.com>"; no error.  (3.13
# writes "to".)
# Surprise: one expects the address as given, which the server would refuse (501);
# instead the mail goes to somebody else, and counts as sent.
set -eu
python3 - <<'PY'
import smtplib, socket, sys, threading

def serve(listener, heard):
    sock, _ = listener.accept()
    with sock, sock.makefile("rb") as lines:
        sock.sendall(b"220 stub\r\n")
        for line in lines:
            heard.append(line.decode().strip().lower())
            sock.sendall(b"250 ok\r\n")

heard = []
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(listener, heard), daemon=True).start()
smtp = smtplib.SMTP("127.0.0.1", listener.getsockname()[1], local_hostname="a.example")
codes = [smtp.rcpt(to)[0] for to in ("ops(on-call)@example.com", "(cc)b@example.com")]
print(sys.version.split()[0], codes, heard)
sys.exit(not (codes == [250, 250] and heard
              == ["rcpt to:<ops@example.com>", "rcpt to:<b@example.com>"]))
PY
