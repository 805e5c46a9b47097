"""A real FTP server for a test: pyftpdlib's, for anybody; it names an address inside as the one where data comes from.

    ftp.py FOLDER     prints its port, and ends with its input
"""

import sys
import threading

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import ThreadedFTPServer


class Handler(FTPHandler):
    authorizer = DummyAuthorizer()
    masquerade_address = "10.0.0.1"


Handler.authorizer.add_anonymous(sys.argv[1])
server = ThreadedFTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.address[1], flush=True)
sys.stdin.read()
