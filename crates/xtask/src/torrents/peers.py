"""Real peers for a test: libtorrent's, with a tracker and a DHT of their own on this machine.

    peers.py seed FOLDER     gives what lies in FOLDER/dir and writes FOLDER/dir.torrent; prints a line of JSON; leaves the
                             swarm at a line of input, and prints what its tracker was asked; ends with its input
    peers.py take MAGNET TO  fetches it and ends
"""

import http.server
import json
import pathlib
import socket
import struct
import sys
import threading
import time
import urllib.parse

import libtorrent

PATIENCE_S = 60


class Tracker(http.server.BaseHTTPRequestHandler):
    """Knows the ports of all who asked (BEP 3, 23)."""

    ports = {}
    asked = []

    def do_GET(self):
        query = dict(pair.split("=", 1) for pair in self.path.split("?", 1)[1].split("&"))
        self.asked.append(self.path)
        # Everybody escapes it in their own way.
        torrent = urllib.parse.unquote_to_bytes(query["info_hash"])
        peers = self.ports.setdefault(torrent, set())
        if query.get("event") == "stopped":
            peers.discard(int(query["port"]))
        elif query["port"] != "9":
            peers.add(int(query["port"]))
        packed = b"".join(socket.inet_aton("127.0.0.1") + struct.pack(">H", port) for port in peers)
        body = b"d8:intervali5e5:peers%d:%se" % (len(packed), packed)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def session(dht):
    """A peer that knows nobody, and trusts this machine's addresses."""
    return libtorrent.session({
        "listen_interfaces": "127.0.0.1:0",
        "enable_dht": dht,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "dht_bootstrap_nodes": "",
        "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False,
        "dht_ignore_dark_internet": False,
        "dht_enforce_node_id": False,
        "dht_prefer_verified_node_ids": False,
        "allow_multiple_connections_per_ip": True,
        "announce_to_all_trackers": True,
        "alert_mask": 0,
    })


def port_of(peer):
    until = time.time() + PATIENCE_S
    while not peer.listen_port():
        assert time.time() < until, "it does not listen"
        time.sleep(0.05)
    return peer.listen_port()


def seed(folder):
    tracker = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tracker)
    threading.Thread(target=tracker.serve_forever, daemon=True).start()
    files = libtorrent.list_files(str(folder / "dir"))
    made = libtorrent.create_torrent(files, 1 << 16, libtorrent.create_torrent.v1_only)
    libtorrent.set_piece_hashes(made, str(folder))
    made.add_tracker("http://127.0.0.1:%d/announce" % tracker.server_port)
    described = libtorrent.bencode(made.generate())
    (folder / "dir.torrent").write_bytes(described)

    node, giver = session(True), session(True)
    ports = {"node": port_of(node), "peer": port_of(giver), "tracker": tracker.server_port}
    giver.add_dht_node(("127.0.0.1", ports["node"]))
    info = libtorrent.torrent_info(libtorrent.bdecode(described))
    settings = libtorrent.add_torrent_params()
    settings.ti, settings.save_path = info, str(folder)
    added = giver.add_torrent(settings)
    until = time.time() + PATIENCE_S
    while not added.status().is_seeding or not Tracker.ports:
        assert time.time() < until, "it does not give"
        time.sleep(0.1)
    for _ in range(20):
        # Until the node knows of it.
        added.force_dht_announce()
        time.sleep(0.1)
    print(json.dumps(dict(ports, hash=str(info.info_hash()))), flush=True)
    for _ in sys.stdin:
        # Who comes now finds it elsewhere, or not at all.
        giver.remove_torrent(added)
        while any(ports["peer"] in known for known in Tracker.ports.values()):
            assert time.time() < until, "the tracker is not told"
            time.sleep(0.1)
        print(json.dumps({"asked": Tracker.asked}), flush=True)


def take(magnet, to):
    peer = session(False)
    peer.apply_settings({"alert_mask": libtorrent.alert.category_t.all_categories})
    settings = libtorrent.parse_magnet_uri(magnet)
    settings.save_path = to
    added = peer.add_torrent(settings)
    until = time.time() + PATIENCE_S
    while not added.status().is_seeding:
        if time.time() > until:
            for alert in peer.pop_alerts():
                print(alert.message(), file=sys.stderr)
            sys.exit("it did not come: %s" % added.status().state)
        time.sleep(0.1)
    print(json.dumps({"taken": added.status().total_payload_download}))


if sys.argv[1] == "seed":
    seed(pathlib.Path(sys.argv[2]))
else:
    take(sys.argv[2], sys.argv[3])
